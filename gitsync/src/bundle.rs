//! The objects of a commit in a Secret, so that the cluster can go back to them when Git cannot be reached.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_manifests::Place;

use crate::render::{Manifest, Rendered, digest_of};
use crate::tree::Closure;

/// Type of the Secrets.
pub const BUNDLE_TYPE: &str = "tidegate.io/bundle.v1";
/// Key of their data.
pub const BUNDLE_KEY: &str = "objects.json.gz";
/// Largest bundle, compressed: a Secret may be one MiB with its base64.
const MAX_PACKED: usize = 700 << 10;
/// Largest bundle, unpacked.
const MAX_UNPACKED: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Item {
    file: String,
    line: u32,
    column: u32,
    object: Value,
}

/// Packs the objects; `None` if they are too large to keep.
pub(crate) fn pack(rendered: &Rendered) -> Option<Vec<u8>> {
    let items: Vec<Item> = rendered
        .manifests
        .iter()
        .map(|manifest| Item {
            file: manifest.place.file.to_string(),
            line: manifest.place.line,
            column: manifest.place.column,
            object: manifest.value.clone(),
        })
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&serde_json::to_vec(&items).ok()?).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() <= MAX_PACKED)
}

/// Unpacks what [`pack`] packed; `None` if it is something else, or was changed.
pub fn unpack(packed: &[u8], digest: &str) -> Option<Rendered> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed)
        .take(MAX_UNPACKED)
        .read_to_end(&mut bytes)
        .ok()?;
    let items: Vec<Item> = serde_json::from_slice(&bytes).ok()?;
    let manifests: Vec<Manifest> = items
        .into_iter()
        .map(|item| Manifest {
            value: item.object,
            place: Place {
                file: item.file.into(),
                line: item.line,
                column: item.column,
            },
        })
        .collect();
    let found = digest_of(&manifests);
    (found == digest).then(|| Rendered {
        manifests,
        digest: found,
        closure: Closure::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{Limits, render};
    use crate::tree::Files;

    #[test]
    fn what_is_packed_is_what_comes_out() {
        let files = Files::new().with(
            "a.yaml",
            "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {x: y}\n",
        );
        let rendered = render(&files, "", &Limits::default()).unwrap();
        let packed = pack(&rendered).unwrap();
        let back = unpack(&packed, &rendered.digest).unwrap();
        assert_eq!(back.manifests, rendered.manifests);
        assert_eq!(unpack(&packed, "sha256:other"), None);
        assert_eq!(unpack(b"nothing", &rendered.digest), None);
        assert_eq!(
            unpack(packed.get(..packed.len() - 9).unwrap(), &rendered.digest),
            None
        );
    }
}
