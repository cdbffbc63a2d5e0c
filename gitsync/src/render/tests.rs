use super::*;
use crate::tree::Files;

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

fn rendered(files: &Files, path: &str) -> Rendered {
    render(files, path, &Limits::default()).unwrap()
}

fn refusal(files: &Files, path: &str) -> String {
    render(files, path, &Limits::default()).unwrap_err().to_string()
}

fn names(rendered: &Rendered) -> Vec<String> {
    let name = |manifest: &Manifest| manifest.value["metadata"]["name"].as_str().unwrap().to_owned();
    rendered.manifests.iter().map(name).collect()
}

#[test]
fn all_manifests_of_a_folder_and_below_in_order() {
    let files = Files::new()
        .with("app/b.yaml", "{apiVersion: v1, kind: Secret, metadata: {name: b}}\n---\n# nothing\n---\n")
        .with("app/a/c.json", r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}}"#)
        .with("app/README.md", "no manifest")
        .with("app/.github/x.yaml", "not: one")
        .with(
            "app/d.yml",
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: d}}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: e}\n",
        )
        .with("other/z.yaml", CONFIG);
    let rendered = rendered(&files, "app");
    assert_eq!(names(&rendered), ["c", "b", "d", "e"]);
    let places: Vec<String> = rendered.manifests.iter().map(|m| m.place.to_string()).collect();
    assert_eq!(
        places,
        [
            "app/a/c.json:1:1",
            "app/b.yaml:1:1",
            "app/d.yml:4:3",
            "app/d.yml:5:3"
        ]
    );
}

#[test]
fn an_error_names_file_and_line() {
    let of = |text: &str| refusal(&Files::new().with("app/a.yaml", text), "app");
    assert_eq!(
        of("apiVersion: v1\nmetadata: {name: a}\n"),
        "app/a.yaml:1:1: an object needs a kind"
    );
    assert_eq!(
        of("kind: ConfigMap\nmetadata: {name: a}\n"),
        "app/a.yaml:1:1: ConfigMap: an object needs an apiVersion"
    );
    assert_eq!(
        of("apiVersion: v1\nkind: Job\nmetadata: {generateName: a-}\n"),
        "app/a.yaml:3:11: Job: metadata.generateName makes a new object at each sync; give it a name"
    );
    assert!(of("a: [").starts_with("app/a.yaml:1:"));
    assert_eq!(
        refusal(&Files::new(), "app"),
        "app: the commit has no such folder; set spec.source.git.path to one that it has"
    );
}

#[test]
fn a_chart_is_refused_and_not_taken_for_manifests() {
    let files = Files::new()
        .with("app/Chart.yaml", "name: a\n")
        .with("app/values.yaml", "a: 1\n");
    assert_eq!(
        refusal(&files, "app"),
        "app/Chart.yaml: is a Helm chart, and there is no helm: start the controller with --helm PATH, or commit what `helm \
         template` prints"
    );
}

#[test]
fn the_digest_is_of_what_objects_say() {
    let of = |text: &str| rendered(&Files::new().with("a.yaml", text), "").digest;
    let reordered = "metadata:\n  name: a # the same\nkind: ConfigMap\napiVersion: v1\n";
    assert_eq!(of(CONFIG), of(reordered));
    assert_ne!(of(CONFIG), of(&CONFIG.replace("name: a", "name: b")));
    let two = Files::new()
        .with("x.yaml", &CONFIG.replace("name: a", "name: b"))
        .with("y.yaml", CONFIG);
    let one = of(&format!("{CONFIG}---\n{}", CONFIG.replace("name: a", "name: b")));
    assert_eq!(rendered(&two, "").digest, one);
}

#[test]
fn a_push_elsewhere_leaves_the_closure() {
    let files = Files::new()
        .with("app/a.yaml", CONFIG)
        .with("other/b.yaml", CONFIG);
    let closure = rendered(&files, "app").closure;
    assert!(closure.holds(&files.clone().with("other/b.yaml", "changed")));
    assert!(!closure.holds(&files.clone().with("app/a.yaml", "changed")));
    assert!(!closure.holds(&files.clone().with("app/new.yaml", CONFIG)));
    assert!(!closure.holds(&files.without("app/a.yaml")));
}

#[test]
fn limits_are_kept() {
    let many = (0..5).fold(Files::new(), |files, n| {
        files.with(&format!("a/{n}.yaml"), CONFIG)
    });
    let within = |limits: Limits| render(&many, "a", &limits).unwrap_err().to_string();
    let all = Limits::default();
    assert_eq!(within(Limits { files: 4, ..all }), "a/4.yaml: more than 4 files");
    assert_eq!(
        within(Limits { bytes: 100, ..all }),
        "a/1.yaml: more than 100 bytes of manifests"
    );
    assert_eq!(
        within(Limits { objects: 3, ..all }),
        "a/3.yaml: more than 3 objects"
    );
    let deep = Files::new().with("a/b/c/d.yaml", CONFIG);
    let shallow = render(&deep, "a", &Limits { depth: 2, ..all }).unwrap_err();
    assert_eq!(shallow.to_string(), "a/b/c: more than 2 folders in one another");
}
