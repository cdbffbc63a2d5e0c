//! `cargo xtask crds`: the CustomResourceDefinitions in `deploy/crds/`, from the types.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use tidegate_crds::schema::definitions;

/// First line of each file.
const HEADER: &str = "# Made from crds/src by `cargo xtask crds`. Do not edit.\n";

/// Writes the files, or with `check` fails if one differs.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    for (plural, definition) in definitions() {
        let path = folder.join(format!("{plural}.yaml"));
        let text = format!("{HEADER}{}", serde_saphyr::to_string(&definition)?);
        if !check {
            fs::create_dir_all(&folder)?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("deploy/crds/{plural}.yaml differs from the types: run `cargo xtask crds`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_what_the_types_say() {
        run(true).unwrap();
    }

    /// Folded text and quotes are easy to get wrong.
    #[test]
    fn yaml_reads_back_as_written() {
        for (plural, definition) in definitions() {
            let text = serde_saphyr::to_string(&definition).unwrap();
            let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(read, definition, "{plural}");
        }
    }
}
