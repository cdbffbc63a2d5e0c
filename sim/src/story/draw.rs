//! Draws a story from a seed.

use serde_json::{Map, Value, json};

use super::{Act, Answer, Deed, Part, Shape, Story, usual_lag};
use crate::faults::{FaultPlan, Refusal};
use crate::invariants::facts::Strategy;
use crate::rng::Rng;

/// Weight of choices: how often, and what.
type Choice<T> = (u64, T);

fn choose<T: Clone>(rng: &mut Rng, choices: &[Choice<T>]) -> T {
    let mut ticket = rng.below(choices.iter().map(|(often, _)| often).sum());
    for (often, what) in choices {
        if ticket < *often {
            return what.clone();
        }
        ticket -= often;
    }
    choices[0].1.clone()
}

fn one<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.below(all.len() as u64) as usize].clone()
}

pub(super) fn story(seed: u64) -> Story {
    let root = Rng::new(seed);
    let mut rng = root.fork("story");
    let count = if rng.chance(120) { 2 } else { 1 };
    let mut rollouts: Vec<Shape> = (0..count)
        .map(|index| shape(&mut rng, super::NAMES[index]))
        .collect();
    if let [_, second] = rollouts.as_mut_slice() {
        second.other_instance = rng.chance(500);
    }
    let mut people = People {
        rng: root.fork("people"),
        next_image: vec![2; count],
        strategies: rollouts.iter().map(|shape| kind(&shape.strategy)).collect(),
        taken_over: rollouts.iter().map(|shape| shape.taken_over.is_some()).collect(),
    };
    let acts = people.acts();
    let mut faults = if rng.chance(400) {
        FaultPlan::swarm(rng.number())
    } else {
        FaultPlan::default()
    };
    while rng.chance(150) {
        faults.refusals.push(refusal(&mut rng));
    }
    let lag_ms = choose(&mut rng, &[(8, usual_lag()), (1, 50), (2, 1900)]);
    Story {
        seed,
        rollouts,
        acts,
        faults,
        lag_ms,
    }
}

/// A quota, or admission that does not like what it sees, for some time or for good.
fn refusal(rng: &mut Rng) -> Refusal {
    let quota = |kind: &str| format!("{kind} is forbidden: exceeded quota: small");
    let webhook = "admission webhook \"policy.example.com\" denied the request: not now".to_owned();
    let policy = "ingresses.networking.k8s.io \"web\" is forbidden: ValidatingAdmissionPolicy 'frozen' with binding 'frozen' \
        denied request: not now"
        .to_owned();
    let (kind, verb, code, message) = one(
        rng,
        &[
            ("ReplicaSet", "create", 403, quota("replicasets.apps")),
            ("ReplicaSet", "patch", 403, webhook.clone()),
            ("ReplicaSet", "delete", 403, webhook.clone()),
            ("Deployment", "patch", 403, webhook.clone()),
            ("AnalysisRun", "create", 403, quota("analysisruns.argoproj.io")),
            ("Service", "patch", 403, webhook),
            (
                "Ingress",
                "create",
                422,
                "Ingress.networking.k8s.io is invalid: spec".to_owned(),
            ),
            ("Ingress", "patch", 422, policy),
        ],
    );
    let from_ms = rng.below(90_000);
    let until_ms = from_ms + 2_000 + rng.below(90_000);
    Refusal {
        kind: kind.to_owned(),
        verb: verb.to_owned(),
        name: None,
        only: None,
        from_ms,
        until_ms: rng.chance(700).then_some(until_ms),
        code,
        message,
    }
}

fn kind(strategy: &Value) -> Strategy {
    match &strategy["canary"] {
        Value::Null => Strategy::BlueGreen,
        canary if canary["trafficRouting"].is_object() => Strategy::RoutedCanary,
        _ => Strategy::Canary,
    }
}

fn shape(rng: &mut Rng, name: &str) -> Shape {
    let replicas = choose(
        rng,
        &[(2, 0), (3, 1), (4, 2), (4, 3), (6, 5), (4, 8), (2, 10), (1, 20)],
    );
    let mut more = Map::new();
    if rng.chance(250) {
        more.insert(
            "rollbackWindow".to_owned(),
            json!({"revisions": 1 + rng.below(3)}),
        );
    }
    if rng.chance(150) {
        more.insert("minReadySeconds".to_owned(), json!(1 + rng.below(4)));
    }
    if rng.chance(200) {
        more.insert("progressDeadlineAbort".to_owned(), json!(true));
    }
    if rng.chance(200) {
        more.insert(
            "progressDeadlineSeconds".to_owned(),
            json!(one(rng, &[6, 10, 40])),
        );
    }
    if rng.chance(150) {
        let limits =
            json!({"successfulRunHistoryLimit": rng.below(3), "unsuccessfulRunHistoryLimit": rng.below(3)});
        more.insert("analysis".to_owned(), limits);
    }
    if rng.chance(100) {
        more.insert("revisionHistoryLimit".to_owned(), json!(1 + rng.below(4)));
    }
    let taken_over = rng
        .chance(120)
        .then(|| one(rng, &["never", "onsuccess", "progressively"]).to_owned());
    if taken_over.is_none() && rng.chance(100) {
        more.insert("template".to_owned(), template_with_a_role(name));
    }
    Shape {
        replicas,
        strategy: strategy(rng, name),
        other_instance: false,
        taken_over,
        more: if more.is_empty() {
            Value::Null
        } else {
            Value::Object(more)
        },
    }
}

pub(super) fn strategy(rng: &mut Rng, name: &str) -> Value {
    match rng.below(100) {
        0..30 => json!({"canary": canary(rng, name, false)}),
        30..68 => json!({"canary": canary(rng, name, true)}),
        _ => json!({"blueGreen": blue_green(rng, name)}),
    }
}

/// A pod template that says itself what the metadata of a role sets.
fn template_with_a_role(name: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name, "role": "active"}},
        "spec": {"containers": [{"name": "main", "image": "shop:v1", "ports": [{"containerPort": 80}]}]},
    })
}

fn analysis(name: &str, count: u64) -> Value {
    json!({
        "templates": [{"templateName": Part::Template.name(name)}],
        "args": [{"name": "count", "value": count.to_string()}],
    })
}

fn limit(rng: &mut Rng) -> Value {
    choose(
        rng,
        &[
            (2, json!(0)),
            (3, json!(1)),
            (2, json!(2)),
            (1, json!(5)),
            (2, json!("25%")),
            (2, json!("50%")),
            (1, json!("100%")),
        ],
    )
}

/// `maxSurge` and `maxUnavailable`: not both 0.
fn limits(rng: &mut Rng, canary: &mut Map<String, Value>) {
    let (surge, unavailable) = (limit(rng), limit(rng));
    if surge == 0 && unavailable == 0 {
        canary.insert("maxUnavailable".to_owned(), json!(1));
    } else {
        canary.insert("maxUnavailable".to_owned(), unavailable);
    }
    canary.insert("maxSurge".to_owned(), surge);
}

fn canary(rng: &mut Rng, name: &str, routed: bool) -> Value {
    let mut canary = Map::new();
    let total = if routed && rng.chance(80) { 1000 } else { 100 };
    let header = routed && rng.chance(120);
    if routed || rng.chance(200) {
        canary.insert("stableService".to_owned(), json!(Part::Stable.name(name)));
        canary.insert("canaryService".to_owned(), json!(Part::Canary.name(name)));
    }
    if routed {
        let mut routing = json!({"nginx": {"stableIngress": Part::Ingress.name(name)}});
        if total != 100 {
            routing["maxTrafficWeight"] = json!(total);
        }
        if header {
            routing["managedRoutes"] = json!([{"name": "beta"}]);
        }
        canary.insert("trafficRouting".to_owned(), routing);
        routed_options(rng, &mut canary);
    } else {
        limits(rng, &mut canary);
    }
    canary.insert(
        "steps".to_owned(),
        steps(rng, name, routed.then_some(total), header),
    );
    if rng.chance(200) {
        let mut background = analysis(name, one(rng, &[2, 100_000]));
        if rng.chance(500) {
            background["startingStep"] = json!(1 + rng.below(3));
        }
        canary.insert("analysis".to_owned(), background);
    }
    if rng.chance(150) {
        canary.insert("canaryMetadata".to_owned(), json!({"labels": {"role": "canary"}}));
        canary.insert("stableMetadata".to_owned(), json!({"labels": {"role": "stable"}}));
    }
    if rng.chance(120) {
        canary.insert("antiAffinity".to_owned(), anti_affinity(rng));
    }
    Value::Object(canary)
}

fn anti_affinity(rng: &mut Rng) -> Value {
    if rng.chance(500) {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {}})
    } else {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 1 + rng.below(100)}})
    }
}

fn routed_options(rng: &mut Rng, canary: &mut Map<String, Value>) {
    if rng.chance(250) {
        canary.insert("dynamicStableScale".to_owned(), json!(true));
    } else if rng.chance(500) {
        canary.insert("scaleDownDelaySeconds".to_owned(), json!(rng.below(12)));
    }
    if rng.chance(400) {
        canary.insert(
            "abortScaleDownDelaySeconds".to_owned(),
            json!(one(rng, &[0, 1, 5, 12])),
        );
    }
    if rng.chance(150) {
        canary.insert("scaleDownDelayRevisionLimit".to_owned(), json!(rng.below(3)));
    }
    if rng.chance(150) {
        canary.insert("minPodsPerReplicaSet".to_owned(), json!(1 + rng.below(3)));
    }
    if rng.chance(150) {
        let threshold = if rng.chance(500) {
            json!({"type": "Pods", "value": 1 + rng.below(4)})
        } else {
            json!({"type": "Percent", "value": one(rng, &[50, 80, 90])})
        };
        canary.insert("replicaProgressThreshold".to_owned(), threshold);
    }
}

/// Steps that rise and fall. Weights are of `total` where there is a router.
fn steps(rng: &mut Rng, name: &str, total: Option<i64>, header: bool) -> Value {
    let count = choose(rng, &[(1, 0), (2, 1), (4, 3), (4, 4), (3, 5), (2, 7)]);
    let scale = total.unwrap_or(100) / 100;
    let mut steps = Vec::new();
    for _ in 0..count {
        let step = match rng.below(100) {
            0..42 => {
                json!({"setWeight": one(rng, &[0, 1, 5, 10, 20, 25, 40, 50, 60, 75, 80, 99, 100]) * scale})
            }
            42..58 => json!({"pause": {}}),
            58..70 => {
                json!({"pause": {"duration": one(rng, &[json!(1), json!(3), json!("5s"), json!("12s")])}})
            }
            70..82 => json!({"analysis": analysis(name, one(rng, &[2, 2, 6]))}),
            82..94 if total.is_some() => json!({"setCanaryScale": match rng.below(3) {
                0 => json!({"replicas": rng.below(6)}),
                1 => json!({"weight": one(rng, &[10, 25, 50, 100])}),
                _ => json!({"matchTrafficWeight": true}),
            }}),
            94.. if header => {
                if rng.chance(700) {
                    let matched = json!([{"headerName": "X-Beta", "headerValue": {"exact": "yes"}}]);
                    json!({"setHeaderRoute": {"name": "beta", "match": matched}})
                } else {
                    json!({"setHeaderRoute": {"name": "beta"}})
                }
            }
            _ => json!({"setWeight": one(rng, &[10, 30, 70]) * scale}),
        };
        steps.push(step);
    }
    Value::Array(steps)
}

fn blue_green(rng: &mut Rng, name: &str) -> Value {
    let mut spec = Map::new();
    let mut put = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    put("activeService", json!(Part::Active.name(name)));
    if rng.chance(700) {
        put("previewService", json!(Part::Preview.name(name)));
    }
    if rng.chance(400) {
        put("autoPromotionEnabled", json!(false));
    }
    if rng.chance(250) {
        put("autoPromotionSeconds", json!(1 + rng.below(12)));
    }
    if rng.chance(300) {
        put("previewReplicaCount", json!(1 + rng.below(4)));
    }
    if rng.chance(600) {
        put("scaleDownDelaySeconds", json!(rng.below(12)));
    }
    if rng.chance(150) {
        put("scaleDownDelayRevisionLimit", json!(rng.below(2)));
    }
    if rng.chance(400) {
        put("abortScaleDownDelaySeconds", json!(one(rng, &[0, 1, 5, 12])));
    }
    if rng.chance(250) {
        put("prePromotionAnalysis", analysis(name, one(rng, &[2, 6])));
    }
    if rng.chance(250) {
        put("postPromotionAnalysis", analysis(name, one(rng, &[2, 6])));
    }
    if rng.chance(150) {
        put("previewMetadata", json!({"labels": {"role": "preview"}}));
        put("activeMetadata", json!({"labels": {"role": "active"}}));
    }
    Value::Object(spec)
}

/// Who does things, and what they have done so far.
struct People {
    rng: Rng,
    next_image: Vec<u32>,
    /// How the Rollouts update by now.
    strategies: Vec<Strategy>,
    /// Which of them take the template of a Deployment.
    taken_over: Vec<bool>,
}

impl People {
    fn acts(&mut self) -> Vec<Act> {
        let count = 10 + self.rng.below(21);
        let mut acts = Vec::new();
        for number in 0..count {
            let on = self.rng.below(self.next_image.len() as u64) as usize;
            // mostly an update: before the first version is there, little can happen
            let what = if number == 0 && self.rng.chance(700) {
                self.new_image(on)
            } else {
                self.deed(on)
            };
            // What is lost comes back, mostly: otherwise nothing else would happen any more.
            let again = match &what {
                Deed::Lose(part) if self.rng.chance(850) => Some(Deed::Make(*part)),
                Deed::Delete if self.rng.chance(850) => Some(Deed::Create),
                Deed::Pause if self.rng.chance(700) => Some(Deed::Resume),
                Deed::Scale(0) if self.rng.chance(500) => Some(Deed::Scale(1 + self.rng.below(8) as i64)),
                Deed::Autoscale(Some(_)) if self.rng.chance(500) => Some(Deed::Autoscale(None)),
                Deed::Metrics(answer) if *answer != Answer::Good && self.rng.chance(600) => {
                    Some(Deed::Metrics(Answer::Good))
                }
                _ => None,
            };
            for what in std::iter::once(what).chain(again) {
                let after_ms = self.pause();
                acts.push(Act { after_ms, on, what });
            }
        }
        acts
    }

    fn pause(&mut self) -> u32 {
        let most = choose(&mut self.rng, &[(3, 300), (5, 2500), (6, 8000), (2, 40_000)]);
        self.rng.below(most) as u32
    }

    fn new_image(&mut self, on: usize) -> Deed {
        let number = self.next_image[on];
        self.next_image[on] += 1;
        let kind = choose(
            &mut self.rng,
            &[(14, ""), (3, "-stuck"), (1, "-crash"), (2, "-late")],
        );
        Deed::Image(format!("v{number}{kind}"))
    }

    fn deed(&mut self, on: usize) -> Deed {
        let rng = &mut self.rng;
        match rng.below(1000) {
            0..170 => self.new_image(on),
            170..230 => Deed::Image(format!("v{}", 1 + rng.below(u64::from(self.next_image[on])))),
            230..350 => Deed::Promote,
            350..410 => Deed::Full,
            410..430 => Deed::Skip,
            430..500 => Deed::Abort,
            500..550 => Deed::Retry,
            550..575 => Deed::Pause,
            575..585 => Deed::Resume,
            585..650 => Deed::Scale(one(rng, &[0, 0, 1, 2, 3, 4, 6, 9, 12])),
            650..670 => Deed::ScaleThrough(one(rng, &[1, 2, 5, 8])),
            670..695 => Deed::Restart,
            695..735 => self.options(on),
            735..750 => {
                let strategy = strategy(rng, super::NAMES[on]);
                self.strategies[on] = kind(&strategy);
                Deed::Strategy(strategy)
            }
            750..775 => Deed::Lose(self.part(on)),
            775..800 => Deed::Reset(one(
                rng,
                &[
                    Part::Stable,
                    Part::Canary,
                    Part::Active,
                    Part::Preview,
                    Part::CanaryIngress,
                ],
            )),
            800..810 if self.strategies[on] == Strategy::RoutedCanary => {
                Deed::Weight(one(rng, &[0, 7, 50, 100]))
            }
            810..835 => Deed::LosePod,
            835..845 => Deed::LoseVersion,
            845..852 => Deed::TouchVersion,
            852..862 => Deed::LoseRun,
            862..905 => Deed::Metrics(one(
                rng,
                &[
                    Answer::Good,
                    Answer::Bad,
                    Answer::Bad,
                    Answer::Neither,
                    Answer::Neither,
                    Answer::Nothing,
                    Answer::Nan,
                    Answer::Error,
                    Answer::Late,
                ],
            )),
            905..912 => Deed::Delete,
            912..932 => Deed::Autoscale(Some(one(rng, &[1, 2, 4, 7, 11]))),
            932..937 => Deed::Autoscale(None),
            937..975 if self.taken_over[on] => Deed::ScaleWorkload(one(rng, &[0, 1, 3, 6])),
            _ => Deed::Rest,
        }
    }

    fn part(&mut self, on: usize) -> Part {
        if self.taken_over[on] && self.rng.chance(250) {
            return Part::Workload;
        }
        one(
            &mut self.rng,
            &[
                Part::Stable,
                Part::Canary,
                Part::Active,
                Part::Preview,
                Part::Ingress,
                Part::CanaryIngress,
                Part::Template,
            ],
        )
    }

    /// Other steps, or another value of an option, in the middle.
    fn options(&mut self, on: usize) -> Deed {
        let name = super::NAMES[on];
        let rng = &mut self.rng;
        let routed = self.strategies[on] == Strategy::RoutedCanary;
        let of_canary = self.strategies[on] != Strategy::BlueGreen;
        Deed::Set(match rng.below(8) {
            0..3 if of_canary => {
                json!({"strategy": {"canary": {"steps": steps(rng, name, routed.then_some(100), false)}}})
            }
            3 if of_canary => {
                json!({"strategy": {"canary": {"maxSurge": 1 + rng.below(3), "maxUnavailable": rng.below(2)}}})
            }
            0 | 1 => json!({"strategy": {"blueGreen": {"autoPromotionEnabled": rng.chance(500)}}}),
            2 => json!({"strategy": {"blueGreen": {"previewReplicaCount": 1 + rng.below(3)}}}),
            3 => json!({"strategy": {"blueGreen": {"autoPromotionSeconds": 1 + rng.below(9)}}}),
            4 => {
                let strategy = if of_canary { "canary" } else { "blueGreen" };
                json!({"strategy": {strategy: {"abortScaleDownDelaySeconds": rng.below(8)}}})
            }
            5 => json!({"progressDeadlineSeconds": 6 + rng.below(30)}),
            6 => json!({"rollbackWindow": {"revisions": 1 + rng.below(3)}}),
            _ => json!({"minReadySeconds": rng.below(4)}),
        })
    }
}
