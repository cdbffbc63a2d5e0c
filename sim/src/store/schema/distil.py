#!/usr/bin/env python3
"""Distils what the simulated API server needs to know of Kubernetes' own types.

Usage: distil.py swagger.json generated.proto... > builtin.tsv

swagger.json is api/openapi-spec/swagger.json of a Kubernetes source tree; the generated.proto files are those of
its modules k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver.

One line a field: type, field, its number in protobuf (`2.1` for a field of an inlined message), what it holds, rules.
What it holds is string, integer, number, boolean, bytes, time, quantity, int-or-string, any, the name of another
type, `[]X` a list of X, or `{}X` a map to X.
"""
import json
import re
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
    ("authorization.k8s.io", "v1"): "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
    ("authentication.k8s.io", "v1"): "SelfSubjectReview TokenReview",
}
WANTED = {(g, v, k) for (g, v), kinds in ROOTS.items() for k in kinds.split()}
PLAIN = {
    "IntOrString": "int-or-string",
    "Quantity": "quantity",
    "Time": "time",
    "MicroTime": "time",
    "FieldsV1": "any",
    "RawExtension": "any",
    "JSON": "any",
    "JSONSchemaProps": "any",
    "JSONSchemaPropsOrBool": "any",
    "JSONSchemaPropsOrArray": "any",
}

definitions = json.load(open(sys.argv[1]))["definitions"]
lines, queue, seen = [], [], set()
messages = {}  # core.v1.Pod -> {field: (number, type)}
for path in sys.argv[2:]:
    text = re.sub(r"//[^\n]*", "", open(path).read())
    package = re.search(r"^package ([\w.]+);", text, re.M).group(1)
    for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S):
        fields = re.findall(r"^\s*(?:optional |repeated )?([\w.]+|map<.*?>) (\w+) = (\d+);", body, re.M)
        messages[".".join(package.split(".")[-2:]) + "." + name] = {
            field: (number, ".".join((package + "." + kind if "." not in kind else kind).split(".")[-3:]))
            for kind, field, number in fields
        }


def number(message, field):
    """The way to a JSON field: fields of Go's embedded structs are one message deeper."""
    fields = messages.get(message, {})
    if field in fields:
        return fields[field][0]
    properties = definitions[full[message]].get("properties", {}) if message in full else {}
    for name, (place, kind) in fields.items():
        if name not in properties and kind in messages:
            inner = number(kind, field)
            if inner:
                return place + "." + inner
    return ""



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
    if schema.get("format") == "byte":
        return "bytes"
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


full = {short(name): name for name in definitions}
for name, schema in definitions.items():
    for gvk in schema.get("x-kubernetes-group-version-kind", []):
        key = (gvk["group"], gvk["version"], gvk["kind"])
        if key in WANTED:
            queue.append(name)
            lines.append((short(name), "", "", "/".join(key).lstrip("/"), "kind"))
while queue:
    name = queue.pop()
    if name in seen:
        continue
    seen.add(name)
    schema = definitions[name]
    if schema.get("x-kubernetes-map-type") == "atomic":
        lines.append((short(name), "", "", "", "map=atomic"))
    for field, inner in schema.get("properties", {}).items():
        row = (short(name), field, number(short(name), field), holds(inner))
        lines.append((*row, " ".join(rules(field, inner, schema.get("required", [])))))
for line in sorted(lines):
    print("\t".join(line).rstrip("\t"))
