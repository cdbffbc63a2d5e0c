//! The rules of rest: when nothing changes any more, sizes, selectors, weights, status and conditions follow from the spec and
//! from what happened before. A second program, far simpler than the one it judges: it sees stored objects only, and shares
//! no code with the planner.

use serde_json::Value;

use super::coverage;
use crate::actors::{condition, controller_of, text, uid_of};
use crate::invariants::facts::{Facts, HASH, Picture, Strategy, Version};

/// What there is to judge.
pub(super) struct Rest<'a> {
    pub(super) facts: &'a Facts,
    pub(super) picture: &'a Picture,
    /// What the controller says it waits for.
    pub(super) why: &'a [String],
    /// What the API server refuses it.
    pub(super) refused: &'a [Refused],
}

/// A write that is refused for good.
#[derive(Debug)]
pub(super) struct Refused {
    /// Verb and kind: `create replicasets`.
    pub(super) what: String,
    /// The server's words.
    pub(super) words: String,
    /// Whether an event has them.
    pub(super) is_told: bool,
}

impl Refused {
    /// Rules that ask for what cannot be while this is refused.
    fn hinders(&self, rule: &str) -> bool {
        let rules: &[&str] = match self.what.as_str() {
            // the versions before wait for the next one as they are
            "create replicasets" => &["R4", "R6"],
            "patch replicasets" | "patch services" | "create ingresses" | "patch ingresses" => {
                &["R4", "R6", "R7", "R9", "R10"]
            }
            "create analysisruns" => &["R10"],
            "patch deployments" => &["R12"],
            _ => &[],
        };
        rules.contains(&rule)
    }
}

/// Sizes of canary and stable.
type Sizes = (i64, i64);

impl Rest<'_> {
    /// Everything that is wrong, by rule.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        // what is refused, and told, may be unfinished
        let mut say = |rule: &str, what: String| {
            if !self.refused.iter().any(|refused| refused.hinders(rule)) {
                wrong.push(format!("{rule}: {what}"));
            }
        };
        let status = self.facts.status();
        let generation = self.facts.rollout["metadata"]["generation"].to_string();
        if text(&status["observedGeneration"]) != generation {
            say(
                "R1",
                format!(
                    "generation {generation} was never looked at: {}",
                    status["observedGeneration"]
                ),
            );
            return wrong;
        }
        let missing = self.missing();
        let invalid = condition(&self.facts.rollout, "InvalidSpec").is_some_and(|c| c["status"] == "True");
        if invalid || !missing.is_empty() {
            if invalid == missing.is_empty() {
                say(
                    "R2",
                    format!(
                        "invalid: {invalid}, but missing is {missing:?}; {}",
                        status["message"]
                    ),
                );
            }
            if self.why.is_empty() {
                say("R8", "it is invalid, and nothing says why".to_owned());
            }
            self.taken_back(&mut say);
            return wrong;
        }
        self.counters(&mut say);
        self.pause_and_phase(&mut say);
        self.reasons(&mut say);
        self.refusals(&mut say);
        self.workload(&mut say);
        // a halted Rollout keeps what it had
        if self.facts.rollout["spec"]["paused"] != true && !self.is_inconclusive() {
            self.old_versions(&mut say);
            self.sizes(&mut say);
            self.selectors(&mut say);
            self.weight(&mut say);
            self.waits_for_something(&mut say);
        }
        wrong
    }

    fn is_settled(&self) -> bool {
        self.facts.stable() == self.facts.current()
    }

    fn is_aborted(&self) -> bool {
        self.facts.aborted() && !self.is_settled()
    }

    fn is_inconclusive(&self) -> bool {
        self.pauses().any(|reason| reason == "InconclusiveAnalysisRun")
    }

    fn pauses(&self) -> impl Iterator<Item = &str> {
        let all = self.facts.status()["pauseConditions"].as_array();
        all.into_iter().flatten().map(|pause| text(&pause["reason"]))
    }

    fn version(&self, hash: &str) -> Version {
        self.facts.versions.get(hash).cloned().unwrap_or_default()
    }

    fn spec(&self) -> &Value {
        let strategy = &self.facts.rollout["spec"]["strategy"];
        if self.facts.strategy == Strategy::BlueGreen {
            &strategy["blueGreen"]
        } else {
            &strategy["canary"]
        }
    }

    /// Everything that the spec names or needs and that is not there.
    fn missing(&self) -> Vec<String> {
        let spec = self.spec();
        let mut names: Vec<(&str, &str)> = [
            "stableService",
            "canaryService",
            "activeService",
            "previewService",
        ]
        .iter()
        .map(|field| ("Service", text(&spec[*field])))
        .collect();
        names.extend(
            self.facts
                .stable_ingresses()
                .iter()
                .map(|_| ("Ingress", self.facts.name.as_str())),
        );
        names.push((
            "Deployment",
            text(&self.facts.rollout["spec"]["workloadRef"]["name"]),
        ));
        let steps = self.facts.steps().iter().map(|step| &step["analysis"]);
        let others = ["analysis", "prePromotionAnalysis", "postPromotionAnalysis"].map(|field| &spec[field]);
        for analysis in steps.chain(others) {
            let templates = analysis["templates"].as_array();
            names.extend(
                templates
                    .into_iter()
                    .flatten()
                    .map(|t| ("AnalysisTemplate", text(&t["templateName"]))),
            );
        }
        names
            .into_iter()
            .filter(|(kind, name)| {
                !name.is_empty() && self.picture.get(kind, &self.facts.namespace, name).is_none()
            })
            .map(|(kind, name)| format!("{kind} {name}"))
            .chain(self.lacks_router())
            .collect()
    }

    /// A size of the canary's own needs a router.
    fn lacks_router(&self) -> Option<String> {
        let sized = self
            .facts
            .steps()
            .iter()
            .any(|step| step["setCanaryScale"].is_object());
        (sized && self.facts.strategy == Strategy::Canary).then(|| "router of setCanaryScale".to_owned())
    }

    /// R3: the counters are those of the pods.
    fn counters(&self, say: &mut impl FnMut(&str, String)) {
        let status = self.facts.status();
        let set = |hash: &str| {
            self.picture
                .get("ReplicaSet", &self.facts.namespace, &self.version(hash).name)
        };
        let sum = |field: &str| -> i64 {
            let sets = self.facts.versions.keys().filter_map(|hash| set(hash));
            sets.map(|set| set["status"][field].as_i64().unwrap_or(0)).sum()
        };
        let updated =
            set(self.facts.current()).map_or(0, |set| set["status"]["replicas"].as_i64().unwrap_or(0));
        let mut wanted = vec![("replicas", sum("replicas")), ("updatedReplicas", updated)];
        if self.facts.strategy != Strategy::BlueGreen {
            wanted.push(("readyReplicas", sum("readyReplicas")));
            wanted.push(("availableReplicas", sum("availableReplicas")));
        }
        for (field, count) in wanted {
            let said = status[field].as_i64().unwrap_or(0);
            if said != count {
                say("R3", format!("status.{field} is {said}, there are {count}"));
            }
        }
    }

    /// R4: nobody but the two versions of an update has pods, and the new one has the highest revision.
    fn old_versions(&self, say: &mut impl FnMut(&str, String)) {
        let (current, stable) = (
            self.version(self.facts.current()),
            self.version(self.facts.stable()),
        );
        if let Some(higher) = self
            .facts
            .versions
            .values()
            .find(|v| v.name != current.name && v.revision >= current.revision)
            && !current.name.is_empty()
        {
            say(
                "R4",
                format!(
                    "{} of an old version has revision {}, the new one {}",
                    higher.name, higher.revision, current.revision
                ),
            );
        }
        let lacks = current.available < self.facts.replicas && !self.is_aborted();
        if stable.available == 0 || self.facts.strategy == Strategy::Canary && lacks {
            // whoever serves stays until somebody else can; without a router also to make up for pods that do not come
            return;
        }
        for (hash, version) in &self.facts.versions {
            // a Service that cannot move yet holds the version that it selects
            let selected = [
                "stableService",
                "canaryService",
                "activeService",
                "previewService",
            ]
            .iter()
            .any(|field| self.selector(field).is_some_and(|selected| selected == *hash));
            if version.wanted > 0 && hash != self.facts.stable() && hash != self.facts.current() && !selected
            {
                say(
                    "R4",
                    format!("{} of an old version wants {} pods", version.name, version.wanted),
                );
            }
        }
    }

    /// R5: phase and conditions follow from the rest of the status.
    fn pause_and_phase(&self, say: &mut impl FnMut(&str, String)) {
        let status = self.facts.status();
        let phase = text(&status["phase"]);
        let stable = self.version(self.facts.stable());
        let reason = condition(&self.facts.rollout, "Progressing").map_or("", |c| text(&c["reason"]));
        let whole = stable.available >= self.facts.replicas;
        // old versions cannot go, so the end of the update may not be told
        let crowded = self.refused.iter().any(|refused| refused.hinders("R4"));
        // or the pods of its Deployment answer instead, so that no Service is switched
        let crowded = crowded || self.deployment_answers();
        let wanted = if self.is_aborted() || reason == "ProgressDeadlineExceeded" {
            &["Degraded"][..]
        } else if self.facts.rollout["spec"]["paused"] == true || self.pauses().next().is_some() {
            &["Paused"]
        } else if self.is_settled() && whole && crowded {
            &["Healthy", "Progressing"][..]
        } else if self.is_settled() && whole {
            &["Healthy"]
        } else {
            &["Progressing"]
        };
        if !wanted.contains(&phase) {
            say(
                "R5",
                format!("phase is {phase} ({}), not {wanted:?}", status["message"]),
            );
        }
        let healthy = condition(&self.facts.rollout, "Healthy").is_some_and(|c| c["status"] == "True");
        if phase == "Healthy" && !healthy && !crowded {
            say("R5", "phase Healthy without the condition".to_owned());
        }
        if self.is_settled() {
            for field in ["abort", "promoteFull", "abortedAt"] {
                if !status[field].is_null() && status[field] != false {
                    say("R5", format!("status.{field} is {} after the end", status[field]));
                }
            }
            let end = self.facts.steps().len() as i64;
            if self.facts.strategy != Strategy::BlueGreen && end > 0 && self.facts.step() != Some(end) {
                say(
                    "R5",
                    format!("step {:?} of {end} after the end", self.facts.step()),
                );
            }
        }
    }

    /// R6: sizes.
    fn sizes(&self, say: &mut impl FnMut(&str, String)) {
        let (stable, current) = (
            self.version(self.facts.stable()),
            self.version(self.facts.current()),
        );
        if self.is_settled() {
            // Without a router pods of others stay where those of the version never come.
            let waits = self.facts.strategy == Strategy::Canary && stable.available < stable.wanted;
            if stable.wanted != self.facts.replicas && !waits {
                say(
                    "R6",
                    format!(
                        "{} wants {} pods, not {}",
                        stable.name, stable.wanted, self.facts.replicas
                    ),
                );
            }
            return;
        }
        // where something is not available yet, sizes are on their way
        let arrived = current.available >= current.wanted && stable.available >= stable.wanted;
        match self.facts.strategy {
            Strategy::BlueGreen => self.blue_green_sizes(&stable, &current, say),
            Strategy::RoutedCanary => {
                let (canary, wanted) = self.routed_sizes();
                if arrived
                    && (current.wanted, stable.wanted) != (canary, wanted)
                    && !self.is_kept_after_abort()
                {
                    let sizes = (current.wanted, stable.wanted);
                    say(
                        "R6",
                        format!(
                            "canary and stable want {sizes:?} pods, not {:?}",
                            (canary, wanted)
                        ),
                    );
                }
            }
            Strategy::Canary if arrived => self.plain_sizes((current.wanted, stable.wanted), say),
            Strategy::Canary | Strategy::None => {}
        }
    }

    /// After an abort `abortScaleDownDelaySeconds: 0` keeps the canary for ever.
    fn is_kept_after_abort(&self) -> bool {
        self.is_aborted() && self.spec()["abortScaleDownDelaySeconds"] == 0
    }

    fn blue_green_sizes(&self, stable: &Version, current: &Version, say: &mut impl FnMut(&str, String)) {
        let size = self.facts.replicas;
        // One that somebody deleted cannot be made again: its template is gone.
        if stable.wanted != size && !stable.name.is_empty() {
            say(
                "R6",
                format!("{} wants {} pods, not {size}", stable.name, stable.wanted),
            );
        }
        let preview = self.spec()["previewReplicaCount"].as_i64().filter(|_| size > 0);
        let preview = preview.unwrap_or(size);
        let wanted = if self.is_aborted() {
            if self.is_kept_after_abort() {
                return;
            }
            vec![0]
        } else {
            vec![preview, size]
        };
        let active = self
            .facts
            .selected
            .values()
            .any(|hash| hash == self.facts.current());
        // a Service that was never switched sends requests to every version
        let served = self.facts.selected.get(text(&self.spec()["activeService"]));
        let spread = served.is_none_or(String::is_empty);
        // nobody else could answer
        let needed = self.is_aborted() && (active || spread) && stable.available == 0;
        // so that one that comes from another strategy keeps what it has
        let kept = spread && !self.is_aborted() && (preview..=size).contains(&current.wanted);
        if !needed && !kept && !wanted.contains(&current.wanted) {
            say(
                "R6",
                format!(
                    "{} wants {} pods, not one of {wanted:?}",
                    current.name, current.wanted
                ),
            );
        }
    }

    /// The weight of the last `setWeight` up to the current step.
    fn weight_of_steps(&self) -> i64 {
        let steps = self.facts.steps();
        let index = self
            .facts
            .step()
            .map_or(steps.len(), |i| usize::try_from(i).unwrap_or(0));
        if self.is_settled() || self.is_aborted() {
            0
        } else if index >= steps.len() || self.facts.status()["promoteFull"] == true {
            self.facts.total
        } else {
            let done = steps.iter().take(index + 1).rev();
            done.map(|step| &step["setWeight"])
                .find_map(Value::as_i64)
                .unwrap_or(0)
        }
    }

    fn routed_sizes(&self) -> Sizes {
        let (size, total) = (self.facts.replicas, self.facts.total);
        let weight = self.weight_of_steps();
        let least = |count: i64| {
            let pods = self.spec()["minPodsPerReplicaSet"].as_i64().unwrap_or(0);
            if count > 0 {
                count.max(pods.min(size))
            } else {
                count
            }
        };
        let share = |weight: i64| least((size * weight + total - 1) / total);
        let steps = self.facts.steps();
        let index = self
            .facts
            .step()
            .map_or(steps.len(), |i| usize::try_from(i).unwrap_or(0));
        let passed = index < steps.len() && !self.is_aborted() && self.facts.status()["promoteFull"] != true;
        let set = steps
            .iter()
            .take(if passed { index + 1 } else { 0 })
            .rev()
            .map(|step| &step["setCanaryScale"])
            .find(|set| set.is_object())
            .filter(|set| set["matchTrafficWeight"] != true);
        let canary = match set {
            Some(set) => set["replicas"]
                .as_i64()
                .or_else(|| set["weight"].as_i64().map(share))
                .unwrap_or_else(|| share(weight)),
            None => share(weight),
        };
        let dynamic = self.spec()["dynamicStableScale"] == true;
        // one pod answers for the stable Service, whatever its share is
        (
            canary,
            if dynamic {
                // a canary without pods gets no requests either
                share(total - if canary == 0 { 0 } else { weight }).max(least(size.min(1)))
            } else {
                size
            },
        )
    }

    /// Without a router the counts come as near to the weight as pods allow.
    fn plain_sizes(&self, (canary, stable): Sizes, say: &mut impl FnMut(&str, String)) {
        let size = self.facts.replicas;
        let weight = self.weight_of_steps();
        let (unavailable, surge) = self.facts.limits();
        let ideal = size as f64 * weight as f64 / 100.0;
        let near = (canary as f64 - ideal).abs() <= 1.0
            && (weight > 0 || canary == 0)
            && (weight < 100 || stable <= i64::from(self.selector("stableService").is_some()))
            && canary + stable >= size - unavailable
            && canary + stable <= size + surge.max(1);
        if !near {
            say(
                "R6",
                format!("canary and stable want ({canary}, {stable}) pods of {size} at weight {weight}"),
            );
        }
    }

    fn selector(&self, field: &str) -> Option<String> {
        let service = self
            .picture
            .get("Service", &self.facts.namespace, text(&self.spec()[field]))?;
        Some(text(&service["spec"]["selector"][HASH]).to_owned())
    }

    /// R7: Services select the versions that they are for.
    fn selectors(&self, say: &mut impl FnMut(&str, String)) {
        let (stable, current) = (self.facts.stable(), self.facts.current());
        let available = |hash: &str| self.version(hash).available;
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        if self.facts.strategy == Strategy::BlueGreen {
            if self.is_settled() || self.is_aborted() {
                wanted.push(("activeService", stable));
            }
            if !self.is_aborted() {
                wanted.push(("previewService", current));
            }
        } else {
            wanted.push(("stableService", stable));
            if self.is_aborted() {
                wanted.push(("canaryService", stable));
            } else if self.is_settled() || available(current) > 0 && available(stable) > 0 {
                wanted.push(("canaryService", current));
            }
        }
        for (field, hash) in wanted {
            // Who has more pods than what was promoted goes on answering until those are there.
            let enough = |selected: &str| match field {
                "stableService" if self.is_settled() => available(selected).min(self.facts.replicas).max(1),
                _ => 1,
            };
            if let Some(selected) = self.selector(field)
                && selected != hash
                && available(hash) >= enough(&selected)
            {
                say("R7", format!("{field} selects {selected:?}, not {hash}"));
            }
        }
    }

    /// R9 of a Rollout that is invalid: no requests go to what is aborted, nor to a Service that is gone.
    fn taken_back(&self, say: &mut impl FnMut(&str, String)) {
        let stable = self.version(self.facts.stable());
        let dynamic = self.spec()["dynamicStableScale"] == true;
        let whole = stable.available >= if dynamic { self.facts.replicas } else { 1 };
        // without the stable Ingress a canary Ingress leads nowhere
        let mut ingresses = self.facts.stable_ingresses().into_iter();
        let routed = ingresses.all(|name| {
            self.picture
                .get("Ingress", &self.facts.namespace, &name)
                .is_some()
        });
        let answers = whole && routed && self.selector("stableService").is_some();
        let gone = self.selector("canaryService").is_none();
        let weight = self.facts.weight;
        if self.facts.strategy == Strategy::RoutedCanary
            && answers
            && weight > 0
            && (self.is_aborted() || gone)
        {
            say(
                "R9",
                format!("weight {weight} on what answers nobody, or is aborted"),
            );
        }
        let active = self.facts.selected.get(text(&self.spec()["activeService"]));
        if self.facts.strategy == Strategy::BlueGreen
            && self.is_aborted()
            && stable.available > 0
            && active.is_some_and(|hash| hash == self.facts.current())
        {
            say("R9", "users get what is aborted".to_owned());
        }
    }

    /// R9: the route carries the weight of the step, and the status says so.
    fn weight(&self, say: &mut impl FnMut(&str, String)) {
        if self.facts.strategy != Strategy::RoutedCanary {
            return;
        }
        let recorded = self.facts.status()["canary"]["weights"]["canary"]["weight"].as_i64();
        if recorded.is_some_and(|recorded| recorded != self.facts.weight) {
            say(
                "R9",
                format!(
                    "the status says weight {recorded:?}, the route {}",
                    self.facts.weight
                ),
            );
        }
        let (current, stable) = (
            self.version(self.facts.current()),
            self.version(self.facts.stable()),
        );
        let live = self.facts.weight;
        let full = self.facts.status()["promoteFull"] == true;
        // another version has the canary's share, and nobody of stable is there to take it back
        let theirs = self
            .selector("canaryService")
            .is_some_and(|hash| hash != self.facts.current());
        let stays = live > 0 && theirs && stable.available == 0;
        // without steps all requests change over with the promotion
        let wanted = if self.facts.steps().is_empty() && !full {
            0
        } else {
            self.weight_of_steps()
        };
        if self.is_settled() || self.is_aborted() {
            if live != 0 && stable.available > 0 {
                say("R9", format!("weight {live} after the end"));
            }
        } else if live > wanted && stable.available > 0 {
            say(
                "R9",
                format!("weight {live} is more than the {wanted} of the steps"),
            );
        } else if current.available >= current.wanted
            && current.available > 0
            && live < wanted
            && !full
            && !stays
        {
            // what stable lacks holds nothing up
            say("R9", format!("weight {live}, not {wanted}"));
        }
    }

    fn runs(&self) -> impl Iterator<Item = &Value> {
        let uid = uid_of(&self.facts.rollout);
        let runs = self.picture.all("AnalysisRun", &self.facts.namespace);
        runs.map(|run| &**run)
            .filter(move |run| controller_of(run).is_some_and(|owner| owner["uid"] == *uid))
    }

    /// The Rollout has no pods, and those of the Deployment whose template it takes are there.
    fn deployment_answers(&self) -> bool {
        let name = text(&self.facts.rollout["spec"]["workloadRef"]["name"]);
        let workload = self.picture.get("Deployment", &self.facts.namespace, name);
        self.facts.replicas == 0 && workload.is_some_and(|workload| workload["spec"]["replicas"] != 0)
    }

    /// R10: an update that does not move has something that it waits for.
    fn waits_for_something(&self, say: &mut impl FnMut(&str, String)) {
        if self.is_settled() || self.is_aborted() {
            return;
        }
        let current = self.version(self.facts.current());
        let stable = self.version(self.facts.stable());
        let lacks = |v: &Version| v.available < v.wanted;
        let running = self
            .runs()
            .any(|run| matches!(text(&run["status"]["phase"]), "Running" | "Pending" | ""));
        let pods = lacks(&current) || lacks(&stable) || current.name.is_empty();
        // what was late goes no further without pods
        let late = self
            .why
            .iter()
            .any(|why| why.contains("did not become available"));
        let unproven = late && self.facts.replicas == 0;
        let waits = pods || running || unproven || self.deployment_answers();
        if self.pauses().next().is_none() && !waits {
            let place = coverage::place(self.facts);
            say(
                "R10",
                format!(
                    "{place} at step {:?}, and it waits for nothing",
                    self.facts.step()
                ),
            );
        }
    }

    /// R8: what the controller says it waits for is so, and whatever waits says for what.
    fn reasons(&self, say: &mut impl FnMut(&str, String)) {
        let status = self.facts.status();
        let phase = text(&status["phase"]);
        let said = |part: &str| self.why.iter().any(|why| why.contains(part));
        if phase != "Healthy" && self.why.is_empty() {
            say(
                "R8",
                format!("{phase} ({}), and nothing says why", status["message"]),
            );
        }
        // the first thing that holds it is enough to say
        let paused: Vec<&str> = self.pauses().collect();
        let held = self.facts.rollout["spec"]["paused"] == true || self.is_aborted();
        let inconclusive = said("InconclusiveAnalysisRun");
        if !paused.is_empty() && !held && !inconclusive && !paused.iter().any(|pause| said(pause)) {
            say(
                "R8",
                format!("paused ({paused:?}), and what is said is {:?}", self.why),
            );
        }
        for version in self.facts.versions.values() {
            if said(&format!("waiting for pods of {}:", version.name))
                && version.available >= self.facts.replicas.max(version.wanted)
                // a step may ask for more than the size, and that may be refused
                && !said(&format!("Failed to scale ReplicaSet {} ", version.name))
            {
                say(
                    "R8",
                    format!(
                        "it says that it waits for pods of {}, which are there: {:?}",
                        version.name, self.why
                    ),
                );
            }
        }
    }

    /// R13: nothing that was refused is silent, and nothing is told that is not refused any more.
    fn refusals(&self, say: &mut impl FnMut(&str, String)) {
        let told = condition(&self.facts.rollout, "WriteRefused").filter(|c| c["status"] == "True");
        let message = told.map_or("", |c| text(&c["message"]));
        if self.refused.is_empty() && !message.is_empty() {
            say("R13", format!("it says {message:?}, and nothing is refused"));
        }
        if let Some(first) = self.refused.first()
            && message.is_empty()
        {
            say(
                "R13",
                format!("{} is refused, and no condition says so", first.what),
            );
        }
        for refused in self.refused {
            // where there are many, the condition says how many more
            let counted = message.ends_with(" more)");
            let explained = counted || self.why.iter().any(|why| why.contains(&refused.words));
            if !message.contains(&refused.words) && !refused.is_told && !explained {
                say("R13", format!("{} is refused, and nobody is told", refused.what));
            }
        }
    }

    /// R12: what became of the Deployment whose template it takes.
    fn workload(&self, say: &mut impl FnMut(&str, String)) {
        let reference = &self.facts.rollout["spec"]["workloadRef"];
        let name = text(&reference["name"]);
        let Some(workload) = self.picture.get("Deployment", &self.facts.namespace, name) else {
            return;
        };
        let status = self.facts.status();
        let generation = workload["metadata"]["generation"].to_string();
        if text(&status["workloadObservedGeneration"]) != generation {
            let seen = &status["workloadObservedGeneration"];
            say(
                "R12",
                format!("generation {generation} of {name} was never looked at: {seen}"),
            );
        }
        let left = workload["spec"]["replicas"].as_i64().unwrap_or(1);
        if left == 0 || text(&reference["scaleDown"]) == "never" {
            return;
        }
        let first = self.version(self.facts.current()).revision == 1;
        let takes_over = self.facts.replicas > 0;
        if first && takes_over && status["phase"] == "Healthy" {
            say("R12", format!("{name} still wants {left} pods"));
        }
        let words = format!("Deployment {name} has");
        let told = self.why.iter().any(|why| why.contains(&words));
        if !told && (!first || !takes_over) {
            say(
                "R12",
                format!("{name} wants {left} pods again, and nobody is told"),
            );
        }
    }
}
