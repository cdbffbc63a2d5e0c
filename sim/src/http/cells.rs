//! The columns of Kubernetes' own kinds (pkg/printers/internalversion of Kubernetes 1.34).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::Resource;

/// A column after Name.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    /// Only with `-o wide`.
    pub(crate) wide: bool,
    pub(crate) cell: fn(&Value, Timestamp) -> Value,
}

type Cell = fn(&Value, Timestamp) -> Value;

const fn text(name: &'static str, cell: Cell) -> Column {
    Column {
        name,
        kind: "string",
        wide: false,
        cell,
    }
}

const fn number(name: &'static str, cell: Cell) -> Column {
    Column {
        name,
        kind: "integer",
        wide: false,
        cell,
    }
}

const fn wide(name: &'static str, cell: Cell) -> Column {
    Column {
        name,
        kind: "string",
        wide: true,
        cell,
    }
}

const AGE: Column = text("Age", |o, now| {
    json!(since(str_at(o, "/metadata/creationTimestamp"), now))
});
const CONTAINERS: Column = wide("Containers", |o, _| json!(containers(o, "name")));
const IMAGES: Column = wide("Images", |o, _| json!(containers(o, "image")));
const SELECTOR: Column = wide("Selector", |o, _| {
    json!(
        o.pointer("/spec/selector")
            .map_or_else(|| "<none>".to_owned(), crate::store::selector_text)
    )
});

const REPLICA_SET: &[Column] = &[
    number("Desired", |o, _| json!(int_at(o, "/spec/replicas"))),
    number("Current", |o, _| json!(int_at(o, "/status/replicas"))),
    number("Ready", |o, _| json!(int_at(o, "/status/readyReplicas"))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const DEPLOYMENT: &[Column] = &[
    text("Ready", |o, _| {
        json!(format!(
            "{}/{}",
            int_at(o, "/status/readyReplicas"),
            int_at(o, "/spec/replicas")
        ))
    }),
    number("Up-to-date", |o, _| json!(int_at(o, "/status/updatedReplicas"))),
    number("Available", |o, _| json!(int_at(o, "/status/availableReplicas"))),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const STATEFUL_SET: &[Column] = &[
    text("Ready", |o, _| {
        json!(format!(
            "{}/{}",
            int_at(o, "/status/readyReplicas"),
            int_at(o, "/spec/replicas")
        ))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
];
const POD: &[Column] = &[
    text("Ready", |o, _| {
        let ready = list(o, "/status/containerStatuses")
            .filter(|c| c.get("ready") == Some(&Value::Bool(true)))
            .count();
        json!(format!("{ready}/{}", list(o, "/spec/containers").count()))
    }),
    text("Status", |o, _| json!(pod_status(o))),
    text("Restarts", |o, _| {
        json!(
            list(o, "/status/containerStatuses")
                .map(|c| int_at(c, "/restartCount"))
                .sum::<i64>()
                .to_string()
        )
    }),
    AGE,
    wide("IP", |o, _| json!(or_none(str_at(o, "/status/podIP")))),
    wide("Node", |o, _| json!(or_none(str_at(o, "/spec/nodeName")))),
    wide("Nominated Node", |o, _| {
        json!(or_none(str_at(o, "/status/nominatedNodeName")))
    }),
    wide("Readiness Gates", |_, _| json!("<none>")),
];
const SERVICE: &[Column] = &[
    text("Type", |o, _| json!(str_at(o, "/spec/type"))),
    text("Cluster-IP", |o, _| json!(or_none(str_at(o, "/spec/clusterIP")))),
    text("External-IP", |o, _| {
        json!(match str_at(o, "/spec/type") {
            "LoadBalancer" => joined(
                list(o, "/status/loadBalancer/ingress").map(|i| str_at(i, "/ip")),
                "<pending>"
            ),
            "ExternalName" => str_at(o, "/spec/externalName").to_owned(),
            _ => "<none>".to_owned(),
        })
    }),
    text("Port(s)", |o, _| {
        let port = |p: &Value| format!("{}/{}", int_at(p, "/port"), str_at(p, "/protocol"));
        json!(joined(list(o, "/spec/ports").map(port), "<none>"))
    }),
    AGE,
    SELECTOR,
];
const INGRESS: &[Column] = &[
    text("Class", |o, _| {
        json!(or_none(str_at(o, "/spec/ingressClassName")))
    }),
    text("Hosts", |o, _| {
        json!(joined(
            list(o, "/spec/rules")
                .map(|r| str_at(r, "/host"))
                .filter(|h| !h.is_empty()),
            "*"
        ))
    }),
    text("Address", |o, _| {
        let address = |i: &Value| format!("{}{}", str_at(i, "/ip"), str_at(i, "/hostname"));
        json!(joined(list(o, "/status/loadBalancer/ingress").map(address), ""))
    }),
    text("Ports", |o, _| {
        json!(if list(o, "/spec/tls").next().is_some() {
            "80, 443"
        } else {
            "80"
        })
    }),
    AGE,
];
const JOB: &[Column] = &[
    text("Status", |o, _| {
        let is = |kind: &str| {
            list(o, "/status/conditions")
                .any(|c| str_at(c, "/type") == kind && str_at(c, "/status") == "True")
        };
        let known = [
            "Complete",
            "Failed",
            "Suspended",
            "FailureTarget",
            "SuccessCriteriaMet",
        ];
        json!(known.into_iter().find(|kind| is(kind)).unwrap_or("Running"))
    }),
    text("Completions", |o, _| {
        json!(format!(
            "{}/{}",
            int_at(o, "/status/succeeded"),
            int_at(o, "/spec/completions").max(1)
        ))
    }),
    text("Duration", |o, now| {
        let start: Option<Timestamp> = str_at(o, "/status/startTime").parse().ok();
        let end = str_at(o, "/status/completionTime").parse().unwrap_or(now);
        json!(start.map_or_else(String::new, |start| human(end.as_second() - start.as_second())))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
const EVENT: &[Column] = &[
    text("Last Seen", |o, now| {
        let times = [
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/firstTimestamp",
            "/eventTime",
        ];
        let time = times
            .into_iter()
            .map(|at| str_at(o, at))
            .find(|time| !time.is_empty());
        json!(since(time.unwrap_or_default(), now))
    }),
    text("Type", |o, _| json!(str_at(o, "/type"))),
    text("Reason", |o, _| json!(str_at(o, "/reason"))),
    text("Object", |o, _| {
        let (kind, name) = (
            str_at(o, "/involvedObject/kind").to_lowercase(),
            str_at(o, "/involvedObject/name"),
        );
        json!(if name.is_empty() {
            kind
        } else {
            format!("{kind}/{name}")
        })
    }),
    wide("Subobject", |o, _| json!(str_at(o, "/involvedObject/fieldPath"))),
    wide("Source", |o, _| {
        let component = str_at(o, "/source/component");
        json!(if component.is_empty() {
            str_at(o, "/reportingComponent")
        } else {
            component
        })
    }),
    text("Message", |o, _| json!(str_at(o, "/message").trim())),
    wide("First Seen", |o, now| {
        let first = str_at(o, "/firstTimestamp");
        json!(since(
            if first.is_empty() {
                str_at(o, "/eventTime")
            } else {
                first
            },
            now
        ))
    }),
    wide("Count", |o, _| {
        json!(
            int_at(o, "/series/count")
                .max(int_at(o, "/count"))
                .max(1)
                .to_string()
        )
    }),
    wide("Name", |o, _| json!(str_at(o, "/metadata/name"))),
];
const ENDPOINTS: &[Column] = &[
    text("Endpoints", |o, _| {
        let pairs = list(o, "/subsets").flat_map(|subset| {
            list(subset, "/addresses").flat_map(move |address| {
                list(subset, "/ports")
                    .map(move |p| format!("{}:{}", str_at(address, "/ip"), int_at(p, "/port")))
            })
        });
        json!(shortened(&pairs.collect::<Vec<_>>()))
    }),
    AGE,
];
const ENDPOINT_SLICE: &[Column] = &[
    text("AddressType", |o, _| json!(str_at(o, "/addressType"))),
    text("Ports", |o, _| {
        json!(shortened(
            &list(o, "/ports")
                .map(|p| int_at(p, "/port").to_string())
                .collect::<Vec<_>>()
        ))
    }),
    text("Endpoints", |o, _| {
        let addresses = list(o, "/endpoints")
            .flat_map(|e| list(e, "/addresses"))
            .filter_map(Value::as_str);
        json!(shortened(&addresses.map(str::to_owned).collect::<Vec<_>>()))
    }),
    AGE,
];
const AUTOSCALER: &[Column] = &[
    text("Reference", |o, _| {
        json!(format!(
            "{}/{}",
            str_at(o, "/spec/scaleTargetRef/kind"),
            str_at(o, "/spec/scaleTargetRef/name")
        ))
    }),
    text("Targets", |o, _| {
        let target = |m: &Value| {
            let name = str_at(m, "/resource/name");
            format!(
                "{name}: <unknown>/{}%",
                int_at(m, "/resource/target/averageUtilization")
            )
        };
        json!(joined(list(o, "/spec/metrics").map(target), "<none>"))
    }),
    text("MinPods", |o, _| {
        json!(int_at(o, "/spec/minReplicas").to_string())
    }),
    number("MaxPods", |o, _| json!(int_at(o, "/spec/maxReplicas"))),
    number("Replicas", |o, _| json!(int_at(o, "/status/currentReplicas"))),
    AGE,
];
const NAMESPACE: &[Column] = &[text("Status", |o, _| json!(str_at(o, "/status/phase"))), AGE];
const NODE: &[Column] = &[
    text("Status", |o, _| {
        let ready = list(o, "/status/conditions")
            .any(|c| str_at(c, "/type") == "Ready" && str_at(c, "/status") == "True");
        json!(if ready { "Ready" } else { "NotReady" })
    }),
    text("Roles", |_, _| json!("<none>")),
    AGE,
    text("Version", |o, _| {
        json!(str_at(o, "/status/nodeInfo/kubeletVersion"))
    }),
];
const CONFIG_MAP: &[Column] = &[
    number("Data", |o, _| json!(count(o, "/data") + count(o, "/binaryData"))),
    AGE,
];
const SECRET: &[Column] = &[
    text("Type", |o, _| json!(str_at(o, "/type"))),
    number("Data", |o, _| json!(count(o, "/data"))),
    AGE,
];
const SERVICE_ACCOUNT: &[Column] = &[number("Secrets", |o, _| json!(list(o, "/secrets").count())), AGE];
const LEASE: &[Column] = &[
    text("Holder", |o, _| json!(str_at(o, "/spec/holderIdentity"))),
    AGE,
];
const DEFINITION: &[Column] = &[text("Created At", |o, _| {
    json!(str_at(o, "/metadata/creationTimestamp"))
})];
const OTHER: &[Column] = &[AGE];

/// The columns of a kind after Name.
pub(crate) fn columns(resource: &Resource) -> &'static [Column] {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "replicasets") => REPLICA_SET,
        ("apps", "deployments") => DEPLOYMENT,
        ("apps", "statefulsets") => STATEFUL_SET,
        ("", "pods") => POD,
        ("", "services") => SERVICE,
        ("networking.k8s.io", "ingresses") => INGRESS,
        ("batch", "jobs") => JOB,
        ("", "events") => EVENT,
        ("", "endpoints") => ENDPOINTS,
        ("discovery.k8s.io", "endpointslices") => ENDPOINT_SLICE,
        ("autoscaling", "horizontalpodautoscalers") => AUTOSCALER,
        ("", "namespaces") => NAMESPACE,
        ("", "nodes") => NODE,
        ("", "configmaps") => CONFIG_MAP,
        ("", "secrets") => SECRET,
        ("", "serviceaccounts") => SERVICE_ACCOUNT,
        ("coordination.k8s.io", "leases") => LEASE,
        ("apiextensions.k8s.io", "customresourcedefinitions") => DEFINITION,
        _ => OTHER,
    }
}

fn str_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn int_at(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn count(value: &Value, pointer: &str) -> usize {
    value
        .pointer(pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

fn joined<T: AsRef<str>>(parts: impl Iterator<Item = T>, none: &str) -> String {
    let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
    if parts.is_empty() {
        none.to_owned()
    } else {
        parts.join(",")
    }
}

fn shortened(parts: &[String]) -> String {
    match parts.len() {
        0 => "<none>".to_owned(),
        1..=3 => parts.join(","),
        more => format!(
            "{} + {} more...",
            parts.get(..3).unwrap_or_default().join(","),
            more - 3
        ),
    }
}

fn containers(object: &Value, key: &str) -> String {
    let names =
        list(object, "/spec/template/spec/containers").filter_map(|c| c.get(key).and_then(Value::as_str));
    names.collect::<Vec<_>>().join(",")
}

fn pod_status(pod: &Value) -> String {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    let reason = list(pod, "/status/containerStatuses").find_map(|c| {
        let waiting = str_at(c, "/state/waiting/reason");
        let reason = if waiting.is_empty() {
            str_at(c, "/state/terminated/reason")
        } else {
            waiting
        };
        (!reason.is_empty()).then(|| reason.to_owned())
    });
    let own = str_at(pod, "/status/reason");
    reason.unwrap_or_else(|| {
        if own.is_empty() {
            str_at(pod, "/status/phase")
        } else {
            own
        }
        .to_owned()
    })
}

/// The time since then, in kubectl's form.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    let then: Option<Timestamp> = time.parse().ok();
    then.map_or_else(
        || "<unknown>".to_owned(),
        |then| human(now.as_second() - then.as_second()),
    )
}

/// apimachinery's `duration.HumanDuration`: two units at most.
fn human(seconds: i64) -> String {
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, "d", hours % 24, "h"),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_like_kubectls() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (315_360_000, "10y"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }
}
