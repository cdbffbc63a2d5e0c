#!/usr/bin/env python3
"""Distils what the simulated API server needs to know of Kubernetes' own types.

Usage: distil.py api/openapi-spec/swagger.json > builtin.tsv   (swagger.json of a Kubernetes source tree)

One line a field: type, field, what it holds, rules. What it holds is string, integer, number, boolean,
int-or-string, any, the name of another type, `[]X` a list of X, or `{}X` a map to X.
"""
import json
import sys

ROOTS = {
    ("", "v1"): "Namespace Pod Service Endpoints ConfigMap Secret Event ServiceAccount PodTemplate Node "
    "PersistentVolumeClaim",
    ("apps", "v1"): "ReplicaSet Deployment StatefulSet DaemonSet",
    ("batch", "v1"): "Job CronJob",
    ("autoscaling", "v1"): "Scale",
    ("autoscaling", "v2"): "HorizontalPodAutoscaler",
    ("discovery.k8s.io", "v1"): "EndpointSlice",
    ("networking.k8s.io", "v1"): "Ingress IngressClass NetworkPolicy",
    ("coordination.k8s.io", "v1"): "Lease",
    ("policy", "v1"): "Eviction PodDisruptionBudget",
    ("rbac.authorization.k8s.io", "v1"): "Role RoleBinding ClusterRole ClusterRoleBinding",
    ("apiextensions.k8s.io", "v1"): "CustomResourceDefinition",
}
WANTED = {(g, v, k) for (g, v), kinds in ROOTS.items() for k in kinds.split()}
PLAIN = {
    "IntOrString": "int-or-string",
    "Quantity": "int-or-string",
    "Time": "string",
    "MicroTime": "string",
    "FieldsV1": "any",
    "RawExtension": "any",
    "JSON": "any",
    "JSONSchemaProps": "any",
    "JSONSchemaPropsOrBool": "any",
    "JSONSchemaPropsOrArray": "any",
}

definitions = json.load(open(sys.argv[1]))["definitions"]
lines, queue, seen = [], [], set()


def short(name):
    """io.k8s.api.core.v1.Pod -> core.v1.Pod"""
    return ".".join(name.split(".")[-3:])


def holds(schema):
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        last = name.rsplit(".", 1)[-1]
        if last in PLAIN:
            return PLAIN[last]
        queue.append(name)
        return short(name)
    kind = schema.get("type", "any")
    if kind == "array":
        return "[]" + holds(schema["items"])
    if kind == "object":
        return "{}" + holds(schema.get("additionalProperties", {}))
    return kind


def rules(field, schema, required):
    out = []
    if field in required:
        out.append("required")
    strategy = schema.get("x-kubernetes-patch-strategy")
    if strategy:
        out.append("patch=" + strategy)
    if "x-kubernetes-patch-merge-key" in schema:
        out.append("merge=" + schema["x-kubernetes-patch-merge-key"])
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        out.append("list=map:" + ",".join(schema["x-kubernetes-list-map-keys"]))
    elif kind == "set":
        out.append("list=set")
    if schema.get("x-kubernetes-map-type") == "atomic":
        out.append("map=atomic")
    if field == "protocol":  # part of the key of port lists: the server's own default, absent from swagger.json
        out.append("default=TCP")
    return out


for name, schema in definitions.items():
    for gvk in schema.get("x-kubernetes-group-version-kind", []):
        key = (gvk["group"], gvk["version"], gvk["kind"])
        if key in WANTED:
            queue.append(name)
            lines.append((short(name), "", "/".join(key).lstrip("/"), "kind"))
while queue:
    name = queue.pop()
    if name in seen:
        continue
    seen.add(name)
    schema = definitions[name]
    if schema.get("x-kubernetes-map-type") == "atomic":
        lines.append((short(name), "", "", "map=atomic"))
    for field, inner in schema.get("properties", {}).items():
        lines.append((short(name), field, holds(inner), " ".join(rules(field, inner, schema.get("required", [])))))
for line in sorted(lines):
    print("\t".join(line).rstrip("\t"))
