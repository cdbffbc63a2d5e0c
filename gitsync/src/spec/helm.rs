//! What a spec says about a Helm chart.

use serde_json::json;
use tidegate_crds::DeliveryHelm;

use super::{InvalidSpec, MAX_TEXT, Spec, invalid};
use crate::digest::sha256;
use crate::render::helm::{KUBE_VERSION, MAX_NAME, Release};

/// Most files with values.
const MAX_FILES: usize = 20;

impl Spec {
    /// As what a Delivery's folder is rendered if it is a Helm chart.
    pub fn release(&self, namespace: &str, name: &str) -> Release {
        let mut release = self.helm.clone();
        if release.name.is_empty() {
            name.clone_into(&mut release.name);
        }
        namespace.clone_into(&mut release.namespace);
        release
    }

    /// Digest of what the same commit is rendered by: if it differs, the commit may render to something else.
    pub fn rendered_as(&self) -> String {
        let Release {
            asked,
            name,
            namespace: _,
            kube_version,
            value_files,
            values,
            without_crds,
        } = &self.helm;
        let all = json!([
            self.path,
            asked,
            name,
            kube_version,
            value_files,
            values,
            without_crds
        ]);
        let digest = sha256(all.to_string().as_bytes());
        digest.get(..16).unwrap_or(&digest).to_owned()
    }
}

pub(super) fn read(helm: Option<&DeliveryHelm>) -> Result<Release, InvalidSpec> {
    let Some(helm) = helm else {
        return Ok(Release {
            kube_version: KUBE_VERSION.to_owned(),
            ..Release::default()
        });
    };
    if helm.values.as_ref().is_some_and(|values| !values.is_object()) {
        let message = "is no map: write the values as they stand in a values.yaml";
        return Err(invalid("spec.source.helm.values", message));
    }
    Ok(Release {
        asked: true,
        name: release_name(helm.release_name.as_deref().unwrap_or_default())?,
        namespace: String::new(),
        kube_version: kube_version(helm.kube_version.as_deref().unwrap_or(KUBE_VERSION))?,
        value_files: value_files(&helm.value_files)?,
        values: helm.values.clone().filter(|values| *values != json!({})),
        without_crds: helm.include_crds == Some(false),
    })
}

/// What Helm takes: labels of DNS with dots between them.
fn release_name(name: &str) -> Result<String, InvalidSpec> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if name.is_empty() || name.len() <= MAX_NAME && name.split('.').all(label) {
        return Ok(name.to_owned());
    }
    let message = format!(
        "{name:?} is no name of a release: use at most {MAX_NAME} small letters, digits, dashes and dots"
    );
    Err(invalid("spec.source.helm.releaseName", message))
}

fn kube_version(version: &str) -> Result<String, InvalidSpec> {
    let number = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let bare = version.strip_prefix('v').unwrap_or(version);
    let parts: Vec<&str> = bare.split('.').collect();
    if !(2..=3).contains(&parts.len()) || !parts.into_iter().all(number) {
        let message = format!("{version:?} is no version of Kubernetes: write it as {KUBE_VERSION}");
        return Err(invalid("spec.source.helm.kubeVersion", message));
    }
    Ok(bare.to_owned())
}

fn value_files(files: &[String]) -> Result<Vec<String>, InvalidSpec> {
    let field = "spec.source.helm.valueFiles";
    if files.len() > MAX_FILES {
        return Err(invalid(field, format!("has more than {MAX_FILES} files")));
    }
    let bad = |file: &&String| {
        file.trim_matches('/').is_empty()
            || file.len() > MAX_TEXT
            || file.contains("://")
            || file.chars().any(char::is_control)
    };
    if let Some(file) = files.iter().find(bad) {
        let message = format!(
            "{file:?} is no file of the repository: name it relative to the chart, or from the root with a slash before it"
        );
        return Err(invalid(field, message));
    }
    Ok(files.to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn of(helm: Value) -> Result<Release, String> {
        let helm: DeliveryHelm = serde_json::from_value(helm).unwrap();
        read(Some(&helm)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_defaults_that_do_not_depend_on_the_cluster() {
        let expected = Release {
            asked: true,
            kube_version: KUBE_VERSION.to_owned(),
            ..Release::default()
        };
        assert_eq!(of(json!({})), Ok(expected.clone()));
        assert_eq!(of(json!({"values": {}})), Ok(expected.clone()));
        let not_asked = Release {
            asked: false,
            ..expected
        };
        assert_eq!(read(None), Ok(not_asked));
        let all = of(json!({
            "releaseName": "web", "valueFiles": ["a.yaml", "/b.yaml"], "values": {"a": 1}, "includeCRDs": false, "kubeVersion": "v1.30",
        }));
        let expected = Release {
            asked: true,
            name: "web".to_owned(),
            namespace: String::new(),
            kube_version: "1.30".to_owned(),
            value_files: vec!["a.yaml".to_owned(), "/b.yaml".to_owned()],
            values: Some(json!({"a": 1})),
            without_crds: true,
        };
        assert_eq!(all, Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_named_with_field_value_and_fix() {
        for (helm, message) in [
            (
                json!({"releaseName": "Web"}),
                "spec.source.helm.releaseName: \"Web\" is no name of a release: use at most 53 small letters, digits, dashes and dots",
            ),
            (
                json!({"releaseName": "--post-renderer"}),
                "spec.source.helm.releaseName: \"--post-renderer\" is no name of a release: use at most 53 small letters, digits, \
                 dashes and dots",
            ),
            (
                json!({"kubeVersion": "newest"}),
                "spec.source.helm.kubeVersion: \"newest\" is no version of Kubernetes: write it as 1.34.0",
            ),
            (
                json!({"values": [1]}),
                "spec.source.helm.values: is no map: write the values as they stand in a values.yaml",
            ),
            (
                json!({"valueFiles": ["https://example.com/a.yaml"]}),
                "spec.source.helm.valueFiles: \"https://example.com/a.yaml\" is no file of the repository: name it relative to the \
                 chart, or from the root with a slash before it",
            ),
            (
                json!({"valueFiles": vec!["a.yaml"; 21]}),
                "spec.source.helm.valueFiles: has more than 20 files",
            ),
        ] {
            assert_eq!(of(helm).unwrap_err(), message);
        }
    }
}
