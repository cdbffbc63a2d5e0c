//! Bodies in Kubernetes' protobuf form, which kubectl sends for Kubernetes' own kinds. Answers are always JSON.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::store::{
    Schema, Type,
    schema::Wire,
    value::{base64, object},
};

/// Deeper than any of Kubernetes' own types.
const MAX_DEPTH: usize = 40;

/// Reads a body: the envelope (`runtime.Unknown`) says which kind it is.
///
/// # Errors
/// If it is not in that form, or of a kind whose numbers are not known.
pub(crate) fn decode(content: &[u8]) -> Result<Value, String> {
    let envelope = content
        .strip_prefix(b"k8s\0")
        .ok_or("the body does not start with k8s")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field? {
            (1, Datum::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Datum::Bytes(text)) => api_version = utf8(text)?,
                        (2, Datum::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Datum::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let schema = Schema::builtin(&api_version, &kind)
        .ok_or_else(|| format!("{kind} in {api_version} is served in JSON only"))?;
    let mut value = json!({"apiVersion": api_version, "kind": kind});
    message(raw, &schema, "", object(&mut value), 0)?;
    Ok(value)
}

enum Datum<'a> {
    Number(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Datum<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            self.field()
                .ok_or_else(|| "the body is cut off".to_owned())
                .inspect_err(|_| self.0 = &[])
        })
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Datum<'a>)> {
        let tag = self.varint()?;
        let datum = match tag & 7 {
            0 => Datum::Number(self.varint()?),
            1 => Datum::Double(f64::from_bits(u64::from_le_bytes(self.take(8)?.try_into().ok()?))),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Datum::Bytes(self.take(length)?)
            }
            5 => Datum::Double(f64::from(f32::from_bits(u32::from_le_bytes(
                self.take(4)?.try_into().ok()?,
            )))),
            _ => return None,
        };
        Some((tag >> 3, datum))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| "a text is not UTF-8".to_owned())
}

/// Reads a message into `out`; `prefix` is the way to it if Go has it inlined.
fn message(
    bytes: &[u8],
    schema: &Schema,
    prefix: &str,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("the body is nested too deep".to_owned());
    }
    for field in Fields(bytes) {
        let (number, datum) = field?;
        let place = format!("{prefix}{number}");
        let Some(name) = schema.numbers.get(&place) else {
            let inlined = format!("{place}.");
            if let Datum::Bytes(inner) = datum
                && schema.numbers.keys().any(|key| key.starts_with(&inlined))
            {
                message(inner, schema, &inlined, out, depth + 1)?;
            }
            continue;
        };
        let inner = schema.field_or_any(name);
        match (inner.kind, &inner.items, &inner.additional, datum) {
            (Type::Array, Some(items), _, datum) => {
                let value = single(&datum, items, depth)?;
                if let Value::Array(list) = out.entry(name.as_str()).or_insert_with(|| json!([])) {
                    list.push(value);
                }
            }
            (Type::Object, _, Some(values), Datum::Bytes(entry)) => {
                let (key, value) = entry_of(entry, values, depth)?;
                object(out.entry(name.as_str()).or_insert(Value::Null)).insert(key, value);
            }
            (_, _, _, datum) => {
                // Go writes empty texts and times too: they are nothing
                let value = single(&datum, &inner, depth)?;
                if value != Value::Null && value != json!("") {
                    out.insert(name.clone(), value);
                }
            }
        }
    }
    Ok(())
}

fn entry_of(entry: &[u8], values: &Arc<Schema>, depth: usize) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), single(&Datum::Bytes(&[]), values, depth)?);
    for field in Fields(entry) {
        match field? {
            (1, Datum::Bytes(text)) => key = utf8(text)?,
            (2, datum) => value = single(&datum, values, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn single(datum: &Datum<'_>, schema: &Schema, depth: usize) -> Result<Value, String> {
    Ok(match (datum, schema.kind, schema.wire) {
        (Datum::Number(number), Type::Boolean, _) => json!(*number != 0),
        // negative numbers are sent as two's complement
        (Datum::Number(number), ..) => json!(number.cast_signed()),
        (Datum::Double(number), ..) => json!(number),
        (Datum::Bytes(bytes), _, Wire::Bytes) => json!(base64(bytes)),
        (Datum::Bytes(bytes), _, Wire::Time) => time(bytes)?,
        (Datum::Bytes(bytes), _, Wire::Quantity) => json!(inner_text(bytes, 1)?),
        (Datum::Bytes(bytes), Type::IntOrString, _) => int_or_string(bytes)?,
        (Datum::Bytes(bytes), Type::Object, _) => {
            let mut map = Map::new();
            message(bytes, schema, "", &mut map, depth + 1)?;
            Value::Object(map)
        }
        // a RawExtension and the like: JSON in a message
        (Datum::Bytes(bytes), Type::Any, _) => {
            serde_json::from_str(&inner_text(bytes, 1)?).unwrap_or_default()
        }
        (Datum::Bytes(bytes), ..) => json!(utf8(bytes)?),
    })
}

fn inner_text(bytes: &[u8], wanted: u64) -> Result<String, String> {
    for field in Fields(bytes) {
        if let (number, Datum::Bytes(text)) = field?
            && number == wanted
        {
            return utf8(text);
        }
    }
    Ok(String::new())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number) = (false, 0_i64);
    for field in Fields(bytes) {
        match field? {
            (1, Datum::Number(kind)) => is_text = kind == 1,
            (2, Datum::Number(value)) => number = value.cast_signed(),
            _ => {}
        }
    }
    if is_text {
        inner_text(bytes, 3).map(Value::String)
    } else {
        Ok(json!(number))
    }
}

/// Seconds and nanoseconds; nothing at all is no time.
fn time(bytes: &[u8]) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    for field in Fields(bytes) {
        match field? {
            (1, Datum::Number(value)) => seconds = value.cast_signed(),
            (2, Datum::Number(value)) => nanos = i32::try_from(value).unwrap_or(0),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    Timestamp::new(seconds, nanos)
        .map(|time| json!(time.to_string()))
        .map_err(|_| "a time is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with bytes, shorter than 128.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_secret_and_a_pod() {
        let labels = field(11, &[field(1, b"a"), field(2, b"b")].concat());
        let created = field(8, &[0x08, 0x80, 0x01]);
        let metadata = field(1, &[field(1, b"s"), field(3, b""), labels, created].concat());
        let data = field(2, &[field(1, b"k"), field(2, b"tide")].concat());
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "data": {"k": "dGlkZQ=="},
            "metadata": {"name": "s", "labels": {"a": "b"}, "creationTimestamp": "1970-01-01T00:02:08Z"},
        });
        assert_eq!(
            decode(&envelope("Secret", &[metadata, data].concat())),
            Ok(expected)
        );

        // Volume.emptyDir is in the inlined VolumeSource; a probe's port is an IntOrString, a limit a Quantity
        let volume = field(1, &[field(1, b"v"), field(2, &field(2, b""))].concat());
        let port = field(2, &field(2, &[&[0x08, 1][..], &field(3, b"http")].concat()));
        let probe = field(11, &field(1, &port));
        let limit = field(
            8,
            &field(1, &[field(1, b"cpu"), field(2, &field(1, b"5m"))].concat()),
        );
        let container = field(2, &[field(1, b"c"), probe, limit].concat());
        let pod = field(2, &[volume, container, vec![4 << 3, 30]].concat());
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": {
                "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "c", "readinessProbe": {"httpGet": {"port": "http"}}, "resources": {"limits": {"cpu": "5m"}}}],
            },
        });
        assert_eq!(decode(&envelope("Pod", &pod)), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        assert!(decode(b"{}").is_err());
        assert!(decode(&envelope("Nothing", b"")).is_err());
        let whole = envelope("Secret", &field(1, &field(1, b"name")));
        for length in 5..whole.len() {
            // cut anywhere: an error, or less than there was
            drop(decode(&whole[..length]));
        }
        assert!(decode(&whole[..whole.len() - 1]).is_err());
        assert!(decode(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }
}
