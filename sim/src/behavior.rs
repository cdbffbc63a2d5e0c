//! How a simulated pod behaves, read from its template: environment variables `SIM_…`, annotations
//! `sim.tidegate.io/…` of the same name, or words in the tag of its image.

use jiff::SignedDuration;
use serde_json::Value;

/// Prefix of the annotations, e.g. `sim.tidegate.io/error-rate` for `SIM_ERROR_RATE`.
pub const ANNOTATION_PREFIX: &str = "sim.tidegate.io/";

/// How a pod behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// `SIM_START_SECONDS`: from scheduled to ready; `None` lets the kubelet draw it.
    pub start: Option<SignedDuration>,
    /// `SIM_NEVER_READY`: it runs, but is never ready.
    pub never_ready: bool,
    /// `SIM_CRASH_AFTER`: seconds after its start it exits, and again after each restart.
    pub crash_after: Option<SignedDuration>,
    /// `SIM_ERROR_RATE`: share of its answers that are 500, in millionths.
    pub errors_ppm: u32,
    /// `SIM_LATENCY_MS`: time of an answer in the middle.
    pub latency_ms: u32,
    /// `SIM_DRAIN_SECONDS`: how long it goes on answering once it is told to end.
    pub drain: SignedDuration,
    /// `SIM_JOB_SECONDS`: how long a Job's pod runs.
    pub job: SignedDuration,
    /// `SIM_JOB_FAILS`, or a command that says so: a Job's pod fails.
    pub job_fails: bool,
    /// What the metrics call it: `VERSION` or `SIM_VERSION`, or the image's tag.
    pub version: String,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            start: None,
            never_ready: false,
            crash_after: None,
            errors_ppm: 0,
            latency_ms: 20,
            drain: SignedDuration::from_secs(5),
            job: SignedDuration::from_secs(1),
            job_fails: false,
            version: String::new(),
        }
    }
}

impl Behavior {
    /// Reads it from a pod or a pod template (anything with `metadata` and `spec`). What cannot be read is the default.
    pub fn of(pod: &Value) -> Self {
        let mut behavior = Self::default();
        let container = &pod["spec"]["containers"][0];
        let tag = container["image"].as_str().and_then(tag_of).unwrap_or_default();
        tag.clone_into(&mut behavior.version);
        for word in tag.split(['-', '_', '.']) {
            match word {
                "bad" | "broken" => behavior.errors_ppm = 200_000,
                "slow" => behavior.latency_ms = 800,
                "crash" | "crashing" => behavior.crash_after = Some(SignedDuration::from_secs(3)),
                "stuck" | "unready" => behavior.never_ready = true,
                "late" => behavior.start = Some(SignedDuration::from_secs(7)),
                _ => {}
            }
        }
        let words = |field: &str| {
            container[field]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
        };
        let command: Vec<&str> = words("command").chain(words("args")).collect();
        behavior.job_fails = command.iter().any(|word| {
            *word == "false"
                || word
                    .split("exit ")
                    .nth(1)
                    .is_some_and(|code| !code.trim_start().starts_with('0'))
        });
        for (key, value) in pod["metadata"]["annotations"].as_object().into_iter().flatten() {
            if let (Some(key), Some(value)) = (key.strip_prefix(ANNOTATION_PREFIX), value.as_str()) {
                behavior.set(&key.replace('-', "_").to_ascii_uppercase(), value);
            }
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
                if name == "VERSION" {
                    value.clone_into(&mut behavior.version);
                } else if let Some(name) = name.strip_prefix("SIM_") {
                    behavior.set(name, value);
                }
            }
        }
        behavior
    }

    fn set(&mut self, name: &str, value: &str) {
        let number = || value.parse::<f64>().ok().filter(|v| (0.0..1e9).contains(v));
        let seconds = || number().map(|s| SignedDuration::from_millis((s * 1000.0) as i64));
        let truth = || !matches!(value, "" | "0" | "false" | "no");
        match name {
            "START_SECONDS" => self.start = seconds().or(self.start),
            "NEVER_READY" => self.never_ready = truth(),
            "CRASH_AFTER" => self.crash_after = seconds().or(self.crash_after),
            "ERROR_RATE" => self.errors_ppm = number().map_or(self.errors_ppm, |r| (r.min(1.0) * 1e6) as u32),
            "LATENCY_MS" => self.latency_ms = number().map_or(self.latency_ms, |ms| ms as u32),
            "DRAIN_SECONDS" => self.drain = seconds().unwrap_or(self.drain),
            "JOB_SECONDS" => self.job = seconds().unwrap_or(self.job),
            "JOB_FAILS" => self.job_fails = truth(),
            "VERSION" => value.clone_into(&mut self.version),
            _ => {}
        }
    }
}

fn tag_of(image: &str) -> Option<&str> {
    let name = image.split('@').next()?;
    let (_, tag) = name.rsplit_once(':')?;
    (!tag.contains('/')).then_some(tag)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(image: &str, env: &Value, annotations: &Value) -> Value {
        json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"image": image, "env": env}]}})
    }

    #[test]
    fn images_read_naturally() {
        let named = |image: &str| Behavior::of(&pod(image, &json!([]), &json!({})));
        assert_eq!(named("registry:5000/shop"), Behavior::default());
        assert_eq!(
            named("shop:v2"),
            Behavior {
                version: "v2".to_owned(),
                ..Behavior::default()
            }
        );
        assert_eq!(named("registry:5000/rollouts-demo:bad-red").errors_ppm, 200_000);
        assert_eq!(named("argoproj/rollouts-demo:slow-yellow").latency_ms, 800);
        assert!(named("shop:v3-stuck").never_ready);
        assert!(named("shop:v3-crash").crash_after.is_some());
    }

    #[test]
    fn variables_win_over_annotations_and_nonsense_is_left_out() {
        let pod = pod(
            "shop:v2",
            &json!([{"name": "SIM_ERROR_RATE", "value": "0.05"}, {"name": "SIM_LATENCY_MS", "value": "soon"},
                    {"name": "VERSION", "value": "2.1"}, {"name": "SECRET", "valueFrom": {}}]),
            &json!({"sim.tidegate.io/error-rate": "0.5", "sim.tidegate.io/start-seconds": "2.5",
                    "sim.tidegate.io/drain-seconds": "-1"}),
        );
        let want = Behavior {
            start: Some(SignedDuration::from_millis(2500)),
            errors_ppm: 50_000,
            version: "2.1".to_owned(),
            ..Behavior::default()
        };
        assert_eq!(Behavior::of(&pod), want);
    }

    #[test]
    fn commands_of_jobs_tell_how_they_end() {
        let job =
            |command: Value| Behavior::of(&json!({"spec": {"containers": [{"command": command}]}})).job_fails;
        assert!(!job(json!(["sh", "-c", "exit 0"])));
        assert!(job(json!(["sh", "-c", "sleep 1; exit 1"])));
        assert!(job(json!(["false"])));
        assert!(!job(json!(["true"])));
    }
}
