use std::cell::RefCell;

use serde_json::json;

use super::*;
use crate::render::render_as;
use crate::tree::{Closure, Files};

/// A helm that answers from a list and remembers what it was asked.
#[derive(Default)]
struct Fake {
    answers: RefCell<Vec<Result<String, HelmError>>>,
    calls: RefCell<Vec<Call>>,
}

impl Fake {
    /// The first answer comes last; the last one is given again and again.
    fn answering(answers: impl IntoIterator<Item = Result<String, HelmError>>) -> Self {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Self {
            answers: RefCell::new(answers),
            ..Self::default()
        }
    }

    fn printing(output: &str) -> Self {
        Self::answering([Ok(output.to_owned())])
    }

    fn refusing(complaint: &str) -> Self {
        Self::answering([Err(HelmError::Refused(complaint.to_owned()))])
    }
}

impl Helm for Fake {
    fn run(&self, call: &Call) -> Result<String, HelmError> {
        self.calls.borrow_mut().push(call.clone());
        let mut answers = self.answers.borrow_mut();
        if answers.len() > 1 {
            return answers.pop().unwrap();
        }
        answers.first().unwrap().clone()
    }
}

fn files() -> Files {
    Files::new()
        .with(
            "shop/web/Chart.yaml",
            "apiVersion: v2\nname: website\nversion: 1.0.0\n",
        )
        .with("shop/web/templates/a.yaml", "{{ .Values }}")
        .with("shop/web/.helmignore", "*.md")
        .with("shop/values.yaml", "a: 1")
        .with("prod.yaml", "a: 2")
        .with("other/b.yaml", "kind: A")
}

fn release() -> Release {
    Release {
        asked: true,
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        kube_version: "1.34.0".to_owned(),
        ..Release::default()
    }
}

fn rendered(files: &Files, release: &Release, helm: &Fake) -> Result<(Vec<Manifest>, Closure), String> {
    let limits = Limits::default();
    render_as(files, "shop/web", release, Some(helm), &limits)
        .map(|rendered| (rendered.manifests, rendered.closure))
        .map_err(|error| error.to_string())
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
}

#[test]
fn helm_sees_the_chart_and_the_named_files_and_nothing_more() {
    let helm = Fake::printing("");
    let release = Release {
        value_files: vec!["../values.yaml".to_owned(), "/prod.yaml".to_owned()],
        values: Some(json!({"a": 3})),
        without_crds: true,
        ..release()
    };
    rendered(&files(), &release, &helm).unwrap();
    let calls = helm.calls.borrow();
    let call = calls.first().unwrap();
    let seen: Vec<(&str, &str)> = call
        .files
        .iter()
        .map(|(path, content)| (path.as_str(), std::str::from_utf8(content).unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ("chart/.helmignore", "*.md"),
            (
                "chart/Chart.yaml",
                "apiVersion: v2\nname: website\nversion: 1.0.0\n"
            ),
            ("chart/templates/a.yaml", "{{ .Values }}"),
            ("values/0.yaml", "a: 1"),
            ("values/1.yaml", "a: 2"),
            ("values/2.yaml", "{\"a\":3}"),
        ]
    );
    let expected = "template web ./chart --namespace shop --kube-version 1.34.0 --skip-tests --skip-crds --values values/0.yaml \
                    --values values/1.yaml --values values/2.yaml";
    assert_eq!(call.arguments.join(" "), expected);
}

#[test]
fn only_what_helm_saw_makes_it_render_again() {
    let release = Release {
        value_files: vec!["/prod.yaml".to_owned()],
        ..release()
    };
    let (_, closure) = rendered(&files(), &release, &Fake::printing("")).unwrap();
    for (path, same) in [
        ("other/b.yaml", true),
        ("shop/values.yaml", true),
        ("prod.yaml", false),
        ("shop/web/templates/b.yaml", false),
        ("shop/web/Chart.yaml", false),
    ] {
        assert_eq!(closure.holds(&files().with(path, "changed")), same, "{path}");
    }
}

#[test]
fn objects_stand_in_the_templates_that_made_them() {
    let output = format!(
        "---\n# Source: website/crds/c.yaml\n{}---\n# a comment\n{}---\n# Source: website/charts/db/templates/x.yaml\n# nothing\n---\n# Source: \
         website/templates/a.yaml\n\n{}",
        map("one"),
        map("two"),
        map("three"),
    );
    let (manifests, _) = rendered(&files(), &release(), &Fake::printing(&output)).unwrap();
    let places: Vec<(String, &Value)> = manifests
        .iter()
        .map(|manifest| (manifest.place.to_string(), &manifest.value["metadata"]["name"]))
        .collect();
    assert_eq!(
        places,
        [
            ("shop/web/crds/c.yaml:1:1".to_owned(), &json!("one")),
            ("shop/web/crds/c.yaml:7:1".to_owned(), &json!("two")),
            ("shop/web/templates/a.yaml:2:1".to_owned(), &json!("three")),
        ]
    );
}

#[test]
fn what_helm_complains_about_names_the_file() {
    for (complaint, expected) in [
        (
            "Error: execution error at (website/templates/a.yaml:7:15): replicas are needed\n\nUse --debug flag to render out invalid \
             YAML\n",
            "shop/web/templates/a.yaml: helm: execution error at (website/templates/a.yaml:7:15): replicas are needed",
        ),
        (
            "Error: template: website/templates/a.yaml:1:13: executing \"website/templates/a.yaml\" at <.Values.x.y>: nil pointer",
            "shop/web/templates/a.yaml: helm: template: website/templates/a.yaml:1:13: executing \"website/templates/a.yaml\" at \
             <.Values.x.y>: nil pointer",
        ),
        (
            "Error: An error occurred while checking for chart dependencies. You may need to run `helm dependency build` to fetch \
             missing dependencies: found in Chart.yaml, but missing in charts/ directory: redis, db\n",
            "shop/web/Chart.yaml: charts/ lacks redis, db: run `helm dependency update` and commit charts/",
        ),
        (
            "Error: failed to parse values/0.yaml: error converting YAML to JSON: yaml: line 1: no",
            "prod.yaml: helm: failed to parse prod.yaml: error converting YAML to JSON: yaml: line 1: no",
        ),
        (
            "Error: values don't meet the specifications of the schema(s) in the following chart(s):\nwebsite:\n- at '/replicas': got \
             number, want string\n",
            "shop/web/Chart.yaml: helm: values don't meet the specifications of the schema(s) in the following chart(s): website: - at \
             '/replicas': got number, want string",
        ),
    ] {
        let release = Release {
            value_files: vec!["/prod.yaml".to_owned()],
            ..release()
        };
        assert_eq!(
            rendered(&files(), &release, &Fake::refusing(complaint)).unwrap_err(),
            expected
        );
    }
    let long = "x ".repeat(9_999);
    let error = rendered(&files(), &release(), &Fake::refusing(&long)).unwrap_err();
    assert!(error.len() < 600, "{}", error.len());
}

#[test]
fn what_is_no_proper_chart_is_refused_before_helm_runs() {
    let helm = Fake::printing("");
    for (files, release, expected) in [
        (
            files().with("shop/web/Chart.yaml", "version: 1.0.0\n"),
            release(),
            "shop/web/Chart.yaml:1:1: name: a chart needs a name",
        ),
        (
            files().without("shop/web/Chart.yaml"),
            release(),
            "shop/web/Chart.yaml: there is no such file, but spec.source.helm is set: take that out, or set spec.source.git.path to a \
             chart",
        ),
        (
            files(),
            Release {
                value_files: vec!["../../../x.yaml".to_owned()],
                ..release()
            },
            "shop/web/Chart.yaml: spec.source.helm.valueFiles[0]: \"../../../x.yaml\" leaves the repository",
        ),
        (
            files(),
            Release {
                value_files: vec!["x.yaml".to_owned()],
                ..release()
            },
            "shop/web/x.yaml: there is no such file: spec.source.helm.valueFiles[0] is \"x.yaml\"; paths are relative to the chart, or \
             begin with a slash",
        ),
        (
            files(),
            Release {
                name: "w".repeat(54),
                ..release()
            },
            "shop/web/Chart.yaml: \"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww\" is too long for the name of a release: set \
             spec.source.helm.releaseName, at most 53 characters",
        ),
    ] {
        assert_eq!(rendered(&files, &release, &helm).unwrap_err(), expected);
    }
    assert_eq!(*helm.calls.borrow(), []);
    let without = render_as(&files(), "shop/web", &release(), None, &Limits::default()).unwrap_err();
    assert_eq!(
        without.to_string(),
        "shop/web/Chart.yaml: is a Helm chart, and there is no helm: start the controller with --helm PATH, or commit what `helm \
         template` prints"
    );
}

#[test]
fn a_chart_is_one_only_if_nothing_says_otherwise() {
    let both = files().with("shop/web/kustomization.yaml", "");
    let helm = Fake::printing("");
    let not_asked = Release {
        asked: false,
        ..release()
    };
    rendered(&both, &not_asked, &helm).ok();
    assert_eq!(helm.calls.borrow().len(), 0);
    rendered(&files(), &not_asked, &helm).unwrap();
    rendered(&both, &release(), &helm).unwrap();
    // each is asked twice
    assert_eq!(helm.calls.borrow().len(), 4);
}

#[test]
fn what_renders_differently_each_time_is_refused() {
    let output = |name: &str| Ok(format!("---\n# Source: website/templates/a.yaml\n{}", map(name)));
    let error = rendered(&files(), &release(), &Fake::answering([output("a"), output("b")])).unwrap_err();
    assert_eq!(
        error,
        "shop/web/templates/a.yaml: renders to something else each time (a random value, a certificate, the time of day?): give the \
         value in a file or in spec.source.helm.values"
    );
}

#[test]
fn limits_hold_and_an_outage_is_no_fault_of_the_commit() {
    let helm = Fake::printing(&format!(
        "---\n# Source: website/templates/a.yaml\n{}---\n{}",
        map("a"),
        map("b")
    ));
    let with = |limits: Limits| {
        let rendered = render_as(&files(), "shop/web", &release(), Some(&helm), &limits);
        rendered.unwrap_err().to_string()
    };
    let limits = Limits::default();
    assert_eq!(
        with(Limits { files: 2, ..limits }),
        "shop/web/templates/a.yaml: more than 2 files"
    );
    assert_eq!(
        with(Limits { bytes: 10, ..limits }),
        "shop/web/Chart.yaml: more than 10 bytes of a chart"
    );
    assert_eq!(
        with(Limits { objects: 1, ..limits }),
        "shop/web/templates/a.yaml: more than 1 objects"
    );
    let down = Fake::answering([Err(HelmError::Unavailable("no".to_owned()))]);
    let error = render_as(&files(), "shop/web", &release(), Some(&down), &limits).unwrap_err();
    assert!(matches!(error, RenderError::Tree(_)), "{error}");
}
