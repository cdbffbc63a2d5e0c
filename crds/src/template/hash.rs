//! The hashes that name versions (contract 2.4): FNV-1a of Go's JSON, encoded so that no word can appear.

use serde_json::Value;

use super::gojson::{self, Form, Sink};

/// Only these appear in an encoded hash: no vowels, no digits that look like one.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a with 32 bits.
struct Fnv32(u32);

impl Default for Fnv32 {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Sink for Fnv32 {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

impl Fnv32 {
    /// The decimal digits of the sum, each byte as a letter of the alphabet.
    fn encode(&self) -> String {
        let letter = |byte: u8| {
            ALPHABET
                .get(usize::from(byte) % ALPHABET.len())
                .map(|letter| char::from(*letter))
        };
        self.0.to_string().bytes().filter_map(letter).collect()
    }
}

/// The pod template hash of a template: the label value of its ReplicaSet and the end of its name
/// (contract 2.4). `collision_count` is the status field of that name; fields of the template that are
/// unknown or malformed do not count.
pub fn pod_template_hash(template: &Value, collision_count: Option<i32>) -> String {
    let mut hash = Fnv32::default();
    gojson::write_pod_template(&mut hash, Form::Go, template);
    if let Some(count) = collision_count {
        hash.put(&count.to_le_bytes());
        hash.put(&[0; 4]);
    }
    hash.encode()
}

/// The hash of a canary's `steps` (contract 2.4), kept in `status.currentStepHash`. No steps have a hash too; a
/// blue-green Rollout has none, which is the caller's rule.
pub fn step_hash(steps: &[Value]) -> String {
    let mut hash = Fnv32::default();
    gojson::write_canary_steps(&mut hash, steps);
    hash.encode()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PodTemplateVector {
        template: Value,
        collision_count: Option<i32>,
        bytes: usize,
        hash: String,
    }

    #[derive(Deserialize)]
    struct StepVector {
        steps: Vec<Value>,
        hash: String,
    }

    /// The vectors were made from the sender's text, where Go's quantity sees `1e3` as it was typed. Behind an API
    /// server it is the number 1000, so nothing but a string can carry the exponent here.
    fn vectors<T: for<'a> Deserialize<'a>>(lines: &str) -> Vec<T> {
        let lines = lines.replace(":1e3", r#":"1e3""#).replace(":1e-3", r#":"1e-3""#);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn pod_template_hashes_are_upstreams() {
        let vectors: Vec<PodTemplateVector> =
            vectors(include_str!("../../../testdata/vectors/pod-template-hash.jsonl"));
        assert_eq!(vectors.len(), 300);
        for (line, vector) in vectors.iter().enumerate() {
            let mut bytes = Vec::new();
            gojson::write_pod_template(&mut bytes, Form::Go, &vector.template);
            let hash = pod_template_hash(&vector.template, vector.collision_count);
            assert_eq!(
                (bytes.len(), &hash),
                (vector.bytes, &vector.hash),
                "line {}: {}",
                line + 1,
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn step_hashes_are_upstreams() {
        let vectors: Vec<StepVector> = vectors(include_str!("../../../testdata/vectors/step-hash.jsonl"));
        assert_eq!(vectors.len(), 60);
        for (line, vector) in vectors.iter().enumerate() {
            assert_eq!(step_hash(&vector.steps), vector.hash, "line {}", line + 1);
        }
    }

    /// A canary without steps, as recorded.
    #[test]
    fn no_steps_have_a_hash_too() {
        assert_eq!(step_hash(&[]), "5ffbfbbd64");
    }

    #[test]
    fn a_plugins_configuration_keeps_its_json() {
        let mut bytes = Vec::new();
        let config = json!({ "z": [1, 1.0, 1e21, 1e-7, true, null, "<&>"], "a": { "\u{2028}": "\u{1}" } });
        gojson::write_canary_steps(
            &mut bytes,
            &[json!({ "plugin": { "name": "p", "config": config } })],
        );
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"[{"plugin":{"name":"p","config":{"a":{"\u2028":"\u0001"},"z":[1,1,1e+21,1e-7,true,null,"\u003c\u0026\u003e"]}}}]"#
        );
    }

    /// Contract 2.1: a malformed field is dropped, the rest counts.
    #[test]
    fn malformed_fields_count_as_absent() {
        let good =
            json!({ "spec": { "containers": [{ "name": "a", "resources": { "limits": { "cpu": "1" } } }] } });
        let bad = json!({
            "metadata": 7,
            "spec": {
                "containers": [{
                    "name": "a", "image": ["x"], "stdin": "yes",
                    "resources": { "limits": { "cpu": "1", "memory": "invalid" }, "requests": { "memory": {} } },
                    "livenessProbe": "soon", "ports": { "containerPort": 80 },
                }],
                "ephemeralContainers": [{ "name": "e", "resources": { "limits": { "memory": "invalid" } } }],
                "terminationGracePeriodSeconds": 1.5,
                "priority": 2_147_483_648_i64,
                "nodeSelector": null,
            },
        });
        assert_eq!(pod_template_hash(&bad, None), pod_template_hash(&good, None));
        for odd in [json!(null), json!([]), json!("x"), json!({ "spec": [] })] {
            assert_eq!(pod_template_hash(&odd, None), pod_template_hash(&json!({}), None));
        }
    }
}
