//! The corpus `testdata/kustomize`: folders with the output of `kubectl kustomize`, object by object and in order.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::render::{Limits, render};
use crate::tree::Files;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kustomize")
}

/// The cases, and the folder of each that is built: `overlay` if there is one.
fn cases() -> Vec<(String, &'static str)> {
    let folders = std::fs::read_dir(corpus()).unwrap();
    let mut cases: Vec<(String, &str)> = folders
        .map(|folder| {
            let folder = folder.unwrap();
            let built = if folder.path().join("overlay").is_dir() {
                "overlay"
            } else {
                ""
            };
            (folder.file_name().into_string().unwrap(), built)
        })
        .collect();
    cases.sort();
    cases
}

fn files(folder: &Path) -> Files {
    fn add(files: Files, root: &Path, folder: &Path) -> Files {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.fold(files, |files, entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return add(files, root, &path);
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.with_bytes(name, &std::fs::read(&path).unwrap())
        })
    }
    add(Files::new(), folder, folder)
}

fn objects(yaml: &str) -> Vec<Value> {
    let documents = tidegate_manifests::read("expected.yaml", yaml, &tidegate_manifests::Limits::default());
    documents
        .unwrap()
        .into_iter()
        .map(|document| document.value)
        .collect()
}

/// The first object that differs.
fn difference(got: &[Value], expected: &[Value]) -> String {
    let names = |objects: &[Value]| -> Vec<String> {
        let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
        objects.iter().map(name).collect()
    };
    if names(got) != names(expected) {
        return format!("{:?}\n---- expected\n{:?}", names(got), names(expected));
    }
    let differing = got.iter().zip(expected).find(|(got, expected)| got != expected);
    let (got, expected) = differing.unwrap();
    format!("{got}\n---- expected\n{expected}")
}

#[test]
fn builds_what_kubectl_builds() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for (case, built) in cases {
        let folder = corpus().join(&case);
        let expected = objects(&std::fs::read_to_string(folder.join("expected.yaml")).unwrap());
        match render(&files(&folder), built, &Limits::default()) {
            Ok(rendered) => {
                let got: Vec<Value> = rendered
                    .manifests
                    .into_iter()
                    .map(|manifest| manifest.value)
                    .collect();
                if got != expected {
                    wrong.push(format!("{case}: {}", difference(&got, &expected)));
                }
            }
            Err(error) => wrong.push(format!("{case}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n========\n"));
}

/// The corpus against Kustomize itself, where there is one of the version that it was made with.
#[test]
fn the_corpus_is_what_kubectl_prints() {
    let version = Command::new("kubectl").args(["version", "--client"]).output();
    let version = version
        .map(|output| String::from_utf8(output.stdout).unwrap())
        .unwrap_or_default();
    if !version.contains("Kustomize Version: v5.7.") {
        println!("not compared: there is no kubectl with Kustomize 5.7 on the PATH");
        return;
    }
    for (case, built) in cases() {
        let folder = corpus().join(&case);
        let output = Command::new("kubectl")
            .arg("kustomize")
            .arg(folder.join(built))
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let expected = std::fs::read_to_string(folder.join("expected.yaml")).unwrap();
        assert_eq!(printed, expected, "{case}");
    }
}

/// What a kustomization is refused with; further files stand below it.
fn refusal(files: Files) -> String {
    let files = files
        .with(
            "cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n",
        )
        .with("other/kustomization.yaml", "resources: [../cm.yaml]");
    render(&files, "app", &Limits::default()).unwrap_err().to_string()
}

fn refused(kustomization: &str) -> String {
    refusal(Files::new().with("app/kustomization.yaml", kustomization))
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (field, value) in [
        ("openapi", "{path: x.json}"),
        ("crds", "[x.yaml]"),
        ("helmCharts", "[{name: x}]"),
        ("helmGlobals", "{chartHome: x}"),
        ("helmChartInflationGenerator", "[{chartName: x}]"),
        ("transformers", "[x.yaml]"),
        ("generators", "[x.yaml]"),
        ("validators", "[x.yaml]"),
        ("buildMetadata", "[originAnnotations]"),
        ("vars", "[{name: X}]"),
    ] {
        let error = refused(&format!("resources: [../cm.yaml]\n{field}: {value}\n"));
        let start =
            format!("app/kustomization.yaml:2:1: {field}: this field of Kustomize is not supported: ");
        assert!(error.starts_with(&start), "{error}");
    }
}

/// Each kustomization is refused in these words, which name file, field and fix.
fn are_refused<'t>(table: impl IntoIterator<Item = (&'t str, &'t str)>) {
    let wrong: Vec<String> = table
        .into_iter()
        .map(|(kustomization, expected)| {
            (
                refused(kustomization),
                format!("app/kustomization.yaml:{expected}"),
            )
        })
        .filter(|(error, expected)| error != expected)
        .map(|(error, expected)| format!("{error}\n{expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn errors_of_resources_and_components() {
    are_refused([
        (
            "resources: [x.yaml]",
            "1:13: resources[0]: `x.yaml`: the commit has no app/x.yaml",
        ),
        (
            "resources: [../../x]",
            "1:13: resources[0]: `../../x` leaves the repository",
        ),
        (
            "resources: [/etc]",
            "1:13: resources[0]: `/etc` is an absolute path: make it relative to this folder",
        ),
        (
            "resources: ['https://user:pass@example.com/x?ref=v1']",
            "1:13: resources[0]: `https://example.com/x?ref=v1` is in another place than this repository, which would make the result change without a commit: copy it here",
        ),
        (
            "resources: [..]",
            "1:13: resources[0]: `..` is a cycle: it holds app, which is being built",
        ),
        (
            "resources: [.]",
            "1:13: resources[0]: `.` is a cycle: it holds app, which is being built",
        ),
        ("resources: text", "1:12: resources: it is a list"),
        (
            "resources: [../cm.yaml, ../cm.yaml]",
            "1:25: resources[1]: v1 ConfigMap a in namespace default is there twice",
        ),
        (
            "components: [../other]",
            "1:14: components[0]: other/kustomization.yaml is no Component; name it in resources",
        ),
        (
            "components: [../cm.yaml]",
            "1:14: components[0]: cm.yaml is a file, not a folder",
        ),
    ]);
}

#[test]
fn errors_of_form_images_and_replicas() {
    are_refused([
        (
            "resource: [x]",
            "1:1: resource: Kustomize knows no such field; check the spelling",
        ),
        (
            "kind: Kustomisation\nnamePrefix: x",
            "1:7: kind: it is Kustomization or Component",
        ),
        (
            "apiVersion: v1\nnamePrefix: x",
            "1:13: apiVersion: it is kustomize.config.k8s.io/v1beta1",
        ),
        ("kind: Kustomization", "1:1: the kustomization is empty"),
        ("- a", "1:1: a kustomization is a map"),
        (
            "images: [{name: a, newTag: 1.5}]",
            "1:10: images[0]: invalid type: floating point `1.5`, expected a string",
        ),
        (
            "images: [{nam: a}]",
            "1:10: images[0]: unknown field `nam`, expected one of `name`, `newName`, `newTag`, `tagSuffix`, `digest`",
        ),
        (
            "resources: [../cm.yaml]\nreplicas: [{name: a, count: 1}]",
            "2:12: replicas[0]: there is no Deployment or ReplicationController or ReplicaSet or StatefulSet called a",
        ),
        (
            "resources: [../cm.yaml]\nsortOptions: {order: new}",
            "2:14: sortOptions: order `new` is neither legacy nor fifo",
        ),
    ]);
}

#[test]
fn errors_of_patches() {
    are_refused([
        (
            "patches: [{patch: '{kind: X, apiVersion: v1, metadata: {name: b}}'}]",
            "1:11: patches[0]: there is no v1 X b in namespace default to patch",
        ),
        (
            "patches: [{path: a, patch: b}]",
            "1:11: patches[0]: it has both a path and a patch; leave one out",
        ),
        (
            "patches: [{target: {kind: X}}]",
            "1:11: patches[0]: it needs a path or a patch",
        ),
        (
            "patches: [{target: {kind: '('}, patch: '[]'}]",
            "1:11: patches[0]: `^(?:()$` is no valid regular expression",
        ),
        (
            "patches: [{patch: '[{op: test, path: /a}]'}]",
            "1:11: patches[0]: a JSON patch needs a target",
        ),
        (
            "resources: [../cm.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{op: remove, path: /data/x}]'}]",
            "2:11: patches[0]: v1 ConfigMap a in namespace default: operation 1 (/data/x): there is nothing at this path",
        ),
        (
            "resources: [../cm.yaml]\npatches: [{target: {kind: ConfigMap}, patch: '[{op: test, path: /data/k, value: w}]'}]",
            "2:11: patches[0]: v1 ConfigMap a in namespace default: operation 1 (/data/k): the test failed",
        ),
        (
            "resources: [../cm.yaml]\npatches: [{patch: '{kind: ConfigMap, apiVersion: v1, metadata: {name: a}, data: {$retainKeys: [a]}}'}]",
            "2:11: patches[0]: v1 ConfigMap a in namespace default: $retainKeys: Kustomize does not know this directive; use $patch or a JSON patch",
        ),
        (
            "resources: [../cm.yaml]\npatches: [{patch: '{kind: ConfigMap, apiVersion: v1, metadata: {name: a}, list: [{$patch: replace}]}'}]",
            "2:11: patches[0]: v1 ConfigMap a in namespace default: $patch: Kustomize does not apply this one and would leave it in the object",
        ),
        (
            "resources: [../cm.yaml]\npatches: [{patch: '{kind: ConfigMap, apiVersion: v1, metadata: {name: a}, data: [a]}'}]",
            "2:11: patches[0]: v1 ConfigMap a in namespace default: data: the patch has another shape than what it is for: map, list and plain value do not mix",
        ),
    ]);
}

#[test]
fn errors_of_generators_and_replacements() {
    are_refused([
        (
            "configMapGenerator: [{literals: [a=b]}]",
            "1:22: configMapGenerator[0]: name: a generated object needs one",
        ),
        (
            "configMapGenerator: [{name: x, literals: [a=b, a=c]}]",
            "1:22: configMapGenerator[0]: x: the key `a` is there twice",
        ),
        (
            "configMapGenerator: [{name: x, literals: [a]}]",
            "1:22: configMapGenerator[0]: x: a literal is key=value",
        ),
        (
            "configMapGenerator: [{name: x, behavior: merge}]",
            "1:22: configMapGenerator[0]: there is no v1 ConfigMap x in namespace default to merge with or to replace",
        ),
        (
            "secretGenerator: [{name: x, literals: [1234]}]",
            "1:19: secretGenerator[0]: it has fields that no generator has, or values that are no text",
        ),
        (
            "resources: [../cm.yaml]\nreplacements: [{source: {kind: Secret}, targets: [{select: {kind: ConfigMap}}]}]",
            "2:16: replacements[0]: source: there is no Secret ",
        ),
        (
            "resources: [../cm.yaml]\nreplacements: [{source: {kind: ConfigMap}, targets: [{select: {kind: ConfigMap}, fieldPaths: [data.x]}]}]",
            "2:16: replacements[0]: v1 ConfigMap a in namespace default: there is no field data.x",
        ),
    ]);
}

#[test]
fn two_kustomizations_in_a_folder_are_refused() {
    let files = Files::new()
        .with("app/kustomization.yaml", "namePrefix: a")
        .with("app/kustomization.yml", "namePrefix: b");
    assert_eq!(
        refusal(files),
        "app/kustomization.yml: the folder has more than one kustomization: keep one"
    );
}

#[test]
fn a_line_of_a_secret_is_not_in_the_error() {
    let files = Files::new()
        .with(
            "app/kustomization.yaml",
            "secretGenerator: [{name: x, envs: [x.env]}]",
        )
        .with("app/x.env", "OK=1\nhunter 2\n");
    let expected = "app/kustomization.yaml:1:19: secretGenerator[0]: app/x.env:2: a line is NAME=value, the name of letters, digits, `-`, `_` and `.`";
    assert_eq!(refusal(files), expected);
}

#[test]
fn files_above_the_folder_are_read_and_belong_to_the_closure() {
    let files = Files::new()
        .with("app/kustomization.yaml", "resources: [../cm.yaml]")
        .with(
            "cm.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
        )
        .with("other/x.yaml", "a: b");
    let closure = render(&files, "app", &Limits::default()).unwrap().closure;
    assert!(closure.holds(&files.clone().with("other/x.yaml", "changed")));
    assert!(closure.holds(&files.clone().with("app/new.yaml", "not named")));
    assert!(!closure.holds(&files.clone().with("cm.yaml", "changed")));
    assert!(!closure.holds(&files.with("app/Kustomization", "a second one")));
}

#[test]
fn limits_are_kept() {
    // each level doubles what is below
    let level = |files: Files, n: u32| {
        let text = format!("resources: [../{0}a, ../{0}b]\n", n + 1);
        let side = |files: Files, side: &str| {
            let text = format!("namePrefix: {side}-\n{text}");
            files.with(&format!("{n}{side}/kustomization.yaml"), &text)
        };
        side(side(files, "a"), "b")
    };
    let bomb = (0..30).fold(Files::new(), level);
    let error = render(&bomb, "0a", &Limits::default()).unwrap_err().to_string();
    assert_eq!(error, "20a/kustomization.yaml: more than 20 bases in one another");
    let files = Files::new()
        .with("kustomization.yaml", "resources: [a.yaml, b.yaml]")
        .with("a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
        .with("b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n");
    let within = |limits: Limits| render(&files, "", &limits).unwrap_err().to_string();
    let all = Limits::default();
    assert_eq!(within(Limits { files: 2, ..all }), "b.yaml: more than 2 files");
    assert_eq!(
        within(Limits { bytes: 80, ..all }),
        "b.yaml: more than 80 bytes of files"
    );
    assert_eq!(
        within(Limits { objects: 1, ..all }),
        "kustomization.yaml: more than 1 objects"
    );
}
