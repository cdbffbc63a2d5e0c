//! Which form of answer a client wants.

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects as they are.
    #[default]
    Plain,
    /// Rows for people.
    Table,
    /// Only apiVersion, kind and metadata.
    Metadata,
    /// The discovery document of all groups at once.
    Discovery,
}

/// The first form of an `Accept` header that is served. Everything is answered in JSON: a client that asks for
/// protobuf alone gets JSON too and sees it by the content type.
pub(crate) fn form(accept: &str) -> Form {
    for offer in accept.split(',') {
        let mut parts = offer.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        if !matches!(kind, "application/json" | "application/*" | "*/*") {
            continue;
        }
        let parameter = |name: &str| {
            let mut all = offer.split(';').skip(1).filter_map(|p| p.trim().split_once('='));
            all.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        match (parameter("as"), parameter("v")) {
            (None, _) => return Form::Plain,
            (Some("Table"), Some("v1")) => return Form::Table,
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => {
                return Form::Metadata;
            }
            (Some("APIGroupDiscoveryList"), Some("v2")) => return Form::Discovery,
            _ => {}
        }
    }
    Form::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_form_counts() {
        let cases = [
            ("", Form::Plain),
            ("*/*", Form::Plain),
            ("application/json", Form::Plain),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Form::Table,
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Form::Metadata,
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
                Form::Plain,
            ),
            ("application/vnd.kubernetes.protobuf", Form::Plain),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json",
                Form::Discovery,
            ),
            (
                "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                Form::Plain,
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept), expected, "{accept}");
        }
    }
}
