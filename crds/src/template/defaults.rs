//! What the API server fills into a pod template (`SetObjectDefaults_PodTemplate` of Kubernetes 1.34).
//!
//! Requests are not taken from limits and `enableServiceLinks` is not set: the server does that to Pods, never to
//! the template of a ReplicaSet.

use serde_json::{Map, Value, json};

use super::gojson::{integer, quantity};

type Object = Map<String, Value>;

/// Fills in what the API server would fill in when the template is stored in a ReplicaSet. Does nothing
/// to what is there, nor to what is malformed; doing it twice is doing it once.
pub fn set_pod_template_defaults(template: &mut Value) {
    let Value::Object(template) = template else { return };
    let spec = template.entry("spec").or_insert(Value::Null);
    if spec.is_null() {
        *spec = json!({});
    }
    if let Value::Object(spec) = spec {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Object) {
    text(spec, "dnsPolicy", "ClusterFirst");
    text(spec, "restartPolicy", "Always");
    text(spec, "schedulerName", "default-scheduler");
    missing(spec, "securityContext", || json!({}));
    missing(spec, "terminationGracePeriodSeconds", || json!(30));
    resource_list(spec, "overhead");
    objects(spec, "volumes").for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        objects(spec, list).for_each(container);
    }
}

fn container(container: &mut Object) {
    let policy = pull_policy(container.get("image"));
    text(container, "imagePullPolicy", policy);
    text(container, "terminationMessagePath", "/dev/termination-log");
    text(container, "terminationMessagePolicy", "File");
    for port in objects(container, "ports") {
        text(port, "protocol", "TCP");
    }
    for variable in objects(container, "env") {
        let Some(source) = object(variable, "valueFrom") else {
            continue;
        };
        field_reference(source);
        if let Some(file) = object(source, "fileKeyRef") {
            missing(file, "optional", || json!(false));
        }
    }
    resource_requirements(container);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = object(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = object(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(handler) = object(lifecycle, name) {
                http_get(handler);
            }
        }
    }
}

fn probe(probe: &mut Object) {
    number(probe, "timeoutSeconds", 1);
    number(probe, "periodSeconds", 10);
    number(probe, "successThreshold", 1);
    number(probe, "failureThreshold", 3);
    http_get(probe);
    if let Some(grpc) = object(probe, "grpc") {
        missing(grpc, "service", || json!(""));
    }
}

fn http_get(handler: &mut Object) {
    if let Some(action) = object(handler, "httpGet") {
        text(action, "path", "/");
        text(action, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Object) {
    if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
        return;
    }
    if let Some(source) = object(volume, "hostPath") {
        missing(source, "type", || json!(""));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = object(volume, name) {
            missing(source, "defaultMode", || json!(0o644));
        }
    }
    if let Some(source) = object(volume, "downwardAPI") {
        objects(source, "items").for_each(field_reference);
    }
    if let Some(source) = object(volume, "projected") {
        objects(source, "sources").for_each(projection);
    }
    if let Some(source) = object(volume, "iscsi") {
        text(source, "iscsiInterface", "default");
    }
    if let Some(source) = object(volume, "rbd") {
        text(source, "pool", "rbd");
        text(source, "user", "admin");
        text(source, "keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = object(volume, "azureDisk") {
        missing(source, "cachingMode", || json!("ReadWrite"));
        missing(source, "fsType", || json!("ext4"));
        missing(source, "kind", || json!("Shared"));
        missing(source, "readOnly", || json!(false));
    }
    if let Some(source) = object(volume, "scaleIO") {
        text(source, "fsType", "xfs");
        text(source, "storageMode", "ThinProvisioned");
    }
    if let Some(source) = object(volume, "image") {
        let policy = pull_policy(source.get("reference"));
        text(source, "pullPolicy", policy);
    }
    if let Some(source) = object(volume, "ephemeral")
        && let Some(claim) = object(source, "volumeClaimTemplate")
        && let Some(spec) = object(claim, "spec")
    {
        missing(spec, "volumeMode", || json!("Filesystem"));
        resource_requirements(spec);
    }
}

fn projection(source: &mut Object) {
    if let Some(downward) = object(source, "downwardAPI") {
        objects(downward, "items").for_each(field_reference);
    }
    if let Some(token) = object(source, "serviceAccountToken") {
        missing(token, "expirationSeconds", || json!(3600));
    }
    if let Some(certificate) = object(source, "podCertificate") {
        missing(certificate, "maxExpirationSeconds", || json!(86400));
    }
}

fn field_reference(holder: &mut Object) {
    if let Some(reference) = object(holder, "fieldRef") {
        text(reference, "apiVersion", "v1");
    }
}

fn resource_requirements(holder: &mut Object) {
    if let Some(resources) = object(holder, "resources") {
        resource_list(resources, "limits");
        resource_list(resources, "requests");
    }
}

/// Rounds quantities up to thousandths.
fn resource_list(holder: &mut Object, key: &str) {
    let Some(list) = object(holder, key) else { return };
    for value in list.values_mut() {
        if let Some(mut rounded) = quantity(value) {
            let before = rounded.clone();
            rounded.round_up_to_milli();
            if rounded != before {
                *value = Value::String(rounded.canonical());
            }
        }
    }
}

/// `Always` for the tag `latest`, said or meant, else `IfNotPresent`; the latter also for what is no image name.
fn pull_policy(image: Option<&Value>) -> &'static str {
    let image = image.and_then(Value::as_str).unwrap_or_default();
    if image_tag(image) == Some("latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// The tag of an image reference; `latest` if it has neither tag nor digest, `None` if it has only a digest or is
/// not a reference.
fn image_tag(image: &str) -> Option<&str> {
    let (image, digest) = match image.split_once('@') {
        Some((image, digest)) => (image, Some(digest)),
        None => (image, None),
    };
    // a colon before the last slash belongs to a port
    let after_slash = image.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match image.get(after_slash..)?.find(':') {
        Some(colon) => (
            image.get(..after_slash + colon)?,
            Some(image.get(after_slash + colon + 1..)?),
        ),
        None => (image, None),
    };
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || has_upper(host) => path,
        _ => name,
    };
    let valid = path.split('/').all(|part| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }) && tag.is_none_or(|tag| {
        (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    });
    valid.then_some(())?;
    tag.or(if digest.is_none() { Some("latest") } else { None })
}

fn has_upper(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn object<'a>(holder: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    holder.get_mut(key)?.as_object_mut()
}

fn objects<'a>(holder: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    holder
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// Sets a pointer that is nil.
fn missing(holder: &mut Object, key: &str, default: impl FnOnce() -> Value) {
    if holder.get(key).is_none_or(Value::is_null) {
        holder.insert(key.to_owned(), default());
    }
}

/// Sets a string that is empty.
fn text(holder: &mut Object, key: &str, default: &str) {
    if holder
        .get(key)
        .is_none_or(|value| value.is_null() || value.as_str() == Some(""))
    {
        holder.insert(key.to_owned(), Value::from(default));
    }
}

/// Sets a number that is zero.
fn number(holder: &mut Object, key: &str, default: i32) {
    if holder
        .get(key)
        .is_none_or(|value| value.is_null() || integer(value) == Some(0))
    {
        holder.insert(key.to_owned(), Value::from(default));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        for (image, expected) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("web:1", "IfNotPresent"),
            ("registry.example:5000/team/web", "Always"),
            ("registry.example:5000/team/web:1", "IfNotPresent"),
            ("web@sha256:0123", "IfNotPresent"),
            ("web:latest@sha256:0123", "Always"),
            ("Upper.example/web", "Always"),
            ("Web", "IfNotPresent"),
            ("web:", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(Some(&json!(image))), expected, "{image}");
        }
    }

    /// Completes the template, and once more: nothing is left to do then.
    fn completed_to(mut template: Value, expected: &Value) {
        set_pod_template_defaults(&mut template);
        assert_eq!(template, *expected);
        set_pod_template_defaults(&mut template);
        assert_eq!(template, *expected, "twice is once");
    }

    #[test]
    fn what_the_server_fills_in_for_containers() {
        let template = json!({ "spec": {
            "overhead": { "cpu": "1u" },
            "initContainers": [{ "name": "init", "image": "web:1", "imagePullPolicy": "Never" }],
            "containers": [{
                "name": "web",
                "image": "web",
                "ports": [{ "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP" }],
                "env": [
                    { "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "f" } } },
                    { "name": "B", "valueFrom": { "fileKeyRef": { "key": "k" } } },
                ],
                "resources": { "limits": { "cpu": "100u", "memory": "1Gi" } },
                "livenessProbe": { "grpc": { "port": 1 }, "periodSeconds": 0 },
                "readinessProbe": { "httpGet": { "port": 80 } },
                "startupProbe": { "tcpSocket": { "port": 80 }, "failureThreshold": 9 },
                "lifecycle": { "postStart": { "httpGet": { "port": 1, "scheme": "HTTPS" } },
                               "preStop": { "exec": {} } },
            }],
        } });
        let expected = json!({ "spec": {
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
            "overhead": { "cpu": "1m" },
            "initContainers": [{
                "name": "init", "image": "web:1", "imagePullPolicy": "Never",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "containers": [{
                "name": "web",
                "image": "web",
                "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "ports": [
                    { "containerPort": 80, "protocol": "TCP" }, { "containerPort": 53, "protocol": "UDP" },
                ],
                "env": [
                    { "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "f", "apiVersion": "v1" } } },
                    { "name": "B", "valueFrom": { "fileKeyRef": { "key": "k", "optional": false } } },
                ],
                "resources": { "limits": { "cpu": "1m", "memory": "1Gi" } },
                "livenessProbe": {
                    "grpc": { "port": 1, "service": "" },
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "readinessProbe": {
                    "httpGet": { "port": 80, "path": "/", "scheme": "HTTP" },
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "startupProbe": {
                    "tcpSocket": { "port": 80 },
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 9,
                },
                "lifecycle": { "postStart": { "httpGet": { "port": 1, "path": "/", "scheme": "HTTPS" } },
                               "preStop": { "exec": {} } },
            }],
        } });
        completed_to(template, &expected);
    }

    #[test]
    fn what_the_server_fills_in_for_volumes() {
        let template = json!({ "spec": {
            "volumes": [
                { "name": "none" },
                { "name": "host", "hostPath": { "path": "/" } },
                { "name": "secret", "secret": { "secretName": "s", "defaultMode": 0 } },
                { "name": "config", "configMap": { "name": "c" } },
                { "name": "down", "downwardAPI": { "items": [{ "path": "p", "fieldRef": { "fieldPath": "f" } }] } },
                { "name": "many", "projected": { "sources": [
                    { "downwardAPI": { "items": [{ "path": "p", "fieldRef": { "fieldPath": "f" } }] } },
                    { "serviceAccountToken": { "path": "t" } },
                    { "podCertificate": {} },
                ] } },
                { "name": "iscsi", "iscsi": {} },
                { "name": "rbd", "rbd": { "user": "me" } },
                { "name": "azure", "azureDisk": {} },
                { "name": "scale", "scaleIO": {} },
                { "name": "image", "image": { "reference": "web" } },
                { "name": "claim", "ephemeral": { "volumeClaimTemplate": { "spec": {} } } },
            ],
        } });
        let expected = json!({ "spec": {
            "dnsPolicy": "ClusterFirst",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
            "volumes": [
                { "name": "none", "emptyDir": {} },
                { "name": "host", "hostPath": { "path": "/", "type": "" } },
                { "name": "secret", "secret": { "secretName": "s", "defaultMode": 0 } },
                { "name": "config", "configMap": { "name": "c", "defaultMode": 420 } },
                { "name": "down", "downwardAPI": { "defaultMode": 420, "items": [
                    { "path": "p", "fieldRef": { "fieldPath": "f", "apiVersion": "v1" } },
                ] } },
                { "name": "many", "projected": { "defaultMode": 420, "sources": [
                    { "downwardAPI": { "items": [
                        { "path": "p", "fieldRef": { "fieldPath": "f", "apiVersion": "v1" } },
                    ] } },
                    { "serviceAccountToken": { "path": "t", "expirationSeconds": 3600 } },
                    { "podCertificate": { "maxExpirationSeconds": 86400 } },
                ] } },
                { "name": "iscsi", "iscsi": { "iscsiInterface": "default" } },
                { "name": "rbd", "rbd": { "pool": "rbd", "user": "me", "keyring": "/etc/ceph/keyring" } },
                { "name": "azure", "azureDisk": {
                    "cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": false,
                } },
                { "name": "scale", "scaleIO": { "fsType": "xfs", "storageMode": "ThinProvisioned" } },
                { "name": "image", "image": { "reference": "web", "pullPolicy": "Always" } },
                { "name": "claim", "ephemeral": { "volumeClaimTemplate": { "spec": { "volumeMode": "Filesystem" } } } },
            ],
        } });
        completed_to(template, &expected);
    }

    #[test]
    fn malformed_templates_are_left_alone() {
        for odd in [json!(null), json!([]), json!({ "spec": "x" })] {
            let mut template = odd.clone();
            set_pod_template_defaults(&mut template);
            assert_eq!(template, odd);
        }
        let mut odd = json!({ "spec": {
            "containers": [null, "x", { "ports": {}, "env": [1], "resources": [], "livenessProbe": "x" }],
            "volumes": { "name": "x" }, "overhead": { "cpu": "invalid" },
        } });
        set_pod_template_defaults(&mut odd);
        assert_eq!(
            odd.pointer("/spec/containers/2/terminationMessagePolicy"),
            Some(&json!("File"))
        );
        assert_eq!(odd.pointer("/spec/volumes"), Some(&json!({ "name": "x" })));
    }
}
