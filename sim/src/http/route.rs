//! From a URL path to what it names.

/// What a path names. Groups are empty for the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources { group: String, version: String },
    /// Everything below.
    Objects(Target),
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/apis/GROUP/VERSION`.
    OpenApi { group: String, version: String },
    /// `/version`.
    Version,
    /// `/healthz`, `/livez`, `/readyz` and what is below.
    Health,
    /// None of these.
    Unknown,
}

/// Objects or one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) plural: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

/// Reads a path.
pub(crate) fn parse(path: &str) -> Route {
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(decode)
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api"] => Route::CoreVersions,
        ["api", version, rest @ ..] => below("", version, rest),
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["apis", group, version, rest @ ..] => below(group, version, rest),
        ["openapi", "v3"] => Route::OpenApiIndex,
        ["openapi", "v3", "api", version] => Route::OpenApi {
            group: String::new(),
            version: (*version).to_owned(),
        },
        ["openapi", "v3", "apis", group, version] => Route::OpenApi {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
        },
        ["version"] => Route::Version,
        ["healthz" | "livez" | "readyz", ..] => Route::Health,
        _ => Route::Unknown,
    }
}

fn below(group: &str, version: &str, rest: &[&str]) -> Route {
    let target = |namespace: &str, plural: &str, name: &str, subresource: &str| {
        let own = str::to_owned;
        Route::Objects(Target {
            group: own(group),
            version: own(version),
            namespace: own(namespace),
            plural: own(plural),
            name: own(name),
            subresource: own(subresource),
        })
    };
    match *rest {
        [] => Route::Resources {
            group: group.to_owned(),
            version: version.to_owned(),
        },
        // a namespace itself, not what is in it
        ["namespaces", name, sub @ ("status" | "finalize")] => target("", "namespaces", name, sub),
        ["namespaces", namespace, plural] => target(namespace, plural, "", ""),
        ["namespaces", namespace, plural, name] => target(namespace, plural, name, ""),
        ["namespaces", namespace, plural, name, sub] => target(namespace, plural, name, sub),
        [plural] => target("", plural, "", ""),
        [plural, name] => target("", plural, name, ""),
        [plural, name, sub] => target("", plural, name, sub),
        _ => Route::Unknown,
    }
}

/// Undoes percent-encoding; what is no UTF-8 afterwards names nothing.
fn decode(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(group: &str, namespace: &str, plural: &str, name: &str, subresource: &str) -> Route {
        let version = if group.is_empty() { "v1" } else { "v1alpha1" };
        Route::Objects(Target {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            plural: plural.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
        })
    }

    #[test]
    fn paths_name_what_they_name() {
        let cases = [
            ("/api", Route::CoreVersions),
            ("/apis/", Route::Groups),
            ("/apis/apps", Route::Group("apps".to_owned())),
            (
                "/api/v1",
                Route::Resources {
                    group: String::new(),
                    version: "v1".to_owned(),
                },
            ),
            ("/api/v1/pods", objects("", "", "pods", "", "")),
            ("/api/v1/namespaces", objects("", "", "namespaces", "", "")),
            (
                "/api/v1/namespaces/shop",
                objects("", "", "namespaces", "shop", ""),
            ),
            (
                "/api/v1/namespaces/shop/status",
                objects("", "", "namespaces", "shop", "status"),
            ),
            (
                "/api/v1/namespaces/shop/pods",
                objects("", "shop", "pods", "", ""),
            ),
            (
                "/api/v1/namespaces/shop/pods/a/eviction",
                objects("", "shop", "pods", "a", "eviction"),
            ),
            (
                "/apis/argoproj.io/v1alpha1/rollouts",
                objects("argoproj.io", "", "rollouts", "", ""),
            ),
            (
                "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web/scale",
                objects("argoproj.io", "shop", "rollouts", "web", "scale"),
            ),
            (
                "/api/v1/namespaces/shop/pods/a%3Ab%",
                objects("", "shop", "pods", "a:b%", ""),
            ),
            ("/readyz/ping", Route::Health),
            ("/", Route::Unknown),
            ("/api/v1/a/b/c/d/e/f", Route::Unknown),
        ];
        for (path, expected) in cases {
            assert_eq!(parse(path), expected, "{path}");
        }
    }
}
