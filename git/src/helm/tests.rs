//! With the real `helm`: `TIDEGATE_HELM` says where it is, which `cargo xtask helm` prints. The gate sets it.

use std::net::TcpListener;

use tidegate_gitsync::render::helm::{KUBE_VERSION, Release};
use tidegate_gitsync::render::{Limits, RenderError, Rendered, render_as};
use tidegate_gitsync::tree::Files;

use super::*;

/// Where the `helm` of the tests is; `None`, and says so, without one.
pub(crate) fn program() -> Option<PathBuf> {
    let program = std::env::var_os("TIDEGATE_HELM").map(PathBuf::from);
    if program.is_none() {
        eprintln!("skipped: set TIDEGATE_HELM=\"$(cargo xtask helm)\"");
    }
    program
}

/// A chart and the `helm` that renders it.
struct World {
    private: TempDir,
    helm: Helm,
    files: Files,
}

impl World {
    fn new() -> Option<Self> {
        let private = tempfile::tempdir().unwrap();
        let helm = Helm::new(&program()?, private.path().to_owned()).unwrap();
        let files = Files::new()
            .with(
                "web/Chart.yaml",
                "apiVersion: v2\nname: website\nversion: 1.0.0\n",
            )
            .with("web/values.yaml", "replicas: 2\n");
        Some(Self { private, helm, files })
    }

    fn template(&self, text: &str) -> Files {
        self.files.clone().with("web/templates/a.yaml", text)
    }

    async fn render(self: &Arc<Self>, files: &Files) -> Result<Rendered, RenderError> {
        let (world, files) = (Arc::clone(self), files.clone());
        let release = Release {
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
            kube_version: KUBE_VERSION.to_owned(),
            values: Some(serde_json::json!({"color": "blue"})),
            ..Release::default()
        };
        let work = move || render_as(&files, "web", &release, Some(&world.helm), &Limits::default());
        let rendered = tokio::task::spawn_blocking(work).await.unwrap();
        let left: Vec<_> = std::fs::read_dir(self.private.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        rendered
    }

    async fn refused(self: &Arc<Self>, files: &Files) -> String {
        let error = self.render(files).await.unwrap_err();
        assert!(!matches!(error, RenderError::Tree(_)), "{error}");
        error.to_string()
    }
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_renders_as_helm_template_prints_it() {
    let Some(world) = World::new().map(Arc::new) else {
        return;
    };
    let files = world
        .template(&format!(
            "{MAP}  namespace: {{{{ .Release.Namespace }}}}\ndata:\n  kube: {{{{ .Capabilities.KubeVersion.Version }}}}\n  \
             color: {{{{ .Values.color }}}}\n  replicas: {{{{ .Values.replicas | quote }}}}\n  found: {{{{ lookup \"v1\" \"Secret\" \
             \"shop\" \"a\" | len | quote }}}}\n  more: {{{{ .Files.Get \"more.txt\" }}}}\n"
        ))
        .with("web/more.txt", "words")
        .with(
            "web/templates/test.yaml",
            &format!("{}-test\n  annotations: {{helm.sh/hook: test}}\n", MAP.trim_end()),
        )
        .with(
            "web/templates/job.yaml",
            &format!("{}-hook\n  annotations: {{helm.sh/hook: pre-upgrade}}\n", MAP.trim_end()),
        )
        .with("web/crds/a.yaml", &MAP.replace("{{ .Release.Name }}", "crd"))
        .with("web/charts/db/Chart.yaml", "apiVersion: v2\nname: db\nversion: 1.0.0\n")
        .with(
            "web/charts/db/templates/b.yaml",
            &MAP.replace(".Release.Name", ".Chart.Name"),
        );
    let rendered = world.render(&files).await.unwrap();
    let mut objects: Vec<(String, String)> = rendered
        .manifests
        .iter()
        .map(|object| {
            (
                object.place.to_string(),
                object.value["metadata"]["name"].to_string(),
            )
        })
        .collect();
    objects.sort();
    let expected = [
        ("web/charts/db/templates/b.yaml:1:1", "\"db\""),
        ("web/crds/a.yaml:1:1", "\"crd\""),
        ("web/templates/a.yaml:1:1", "\"web\""),
        ("web/templates/job.yaml:1:1", "\"web-hook\""),
    ];
    assert_eq!(
        objects,
        expected.map(|(place, name)| (place.to_owned(), name.to_owned()))
    );
    let main = rendered
        .manifests
        .iter()
        .find(|object| &*object.place.file == "web/templates/a.yaml");
    let main = &main.unwrap().value;
    let data = serde_json::json!({"kube": "v1.34.0", "color": "blue", "replicas": "2", "found": "0", "more": "words"});
    assert_eq!(
        (&main["metadata"]["namespace"], &main["data"]),
        (&serde_json::json!("shop"), &data)
    );
    assert_eq!(world.render(&files).await.unwrap(), rendered);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_in_a_chart_is_said_in_helms_words_and_names_the_file() {
    let Some(world) = World::new().map(Arc::new) else {
        return;
    };
    for (files, expected) in [
        (
            world.template("a: {{ required \"a color is needed\" .Values.paint }}"),
            "web/templates/a.yaml: helm: execution error at (website/templates/a.yaml:1:6): a color is needed",
        ),
        (
            world.template("a: {{ colour }}"),
            "web/templates/a.yaml: helm: parse error at (website/templates/a.yaml:1): function \"colour\" not defined",
        ),
        (
            world.template("a: b\n c: d"),
            "web/templates/a.yaml: helm: YAML parse error on website/templates/a.yaml: error converting YAML to JSON: yaml: line 2: \
             mapping values are not allowed in this context",
        ),
        (
            world.files.clone().with("web/values.yaml", "a: ["),
            "web/Chart.yaml: helm: cannot load values.yaml: error converting YAML to JSON: yaml: line 1: did not find expected node \
             content",
        ),
        (
            world.files.clone().with(
                "web/Chart.yaml",
                "apiVersion: v2\nname: website\nversion: 1.0.0\ndependencies: [{name: redis, version: 1.x, repository: \
                 'https://example.com'}]\n",
            ),
            "web/Chart.yaml: charts/ lacks redis: run `helm dependency update` and commit charts/",
        ),
        (
            world.template(&format!("{MAP}data: {{a: '{{{{ randAlphaNum 9 }}}}'}}")),
            "web/templates/a.yaml: renders to something else each time (a random value, a certificate, the time of day?): give the \
             value in a file or in spec.source.helm.values",
        ),
    ] {
        assert_eq!(world.refused(&files).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_reaches_neither_files_nor_the_network() {
    let Some(world) = World::new().map(Arc::new) else {
        return;
    };
    let secret = world.private.path().with_extension("secret");
    std::fs::write(&secret, "{\"type\": \"array\"}").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    // a schema is what helm would fetch from anywhere
    let schema = |reference: &str| {
        let schema = serde_json::json!({"$ref": reference}).to_string();
        world.template(MAP).with("web/values.schema.json", &schema)
    };
    let file = world
        .refused(&schema(&format!("file://{}", secret.display())))
        .await;
    let web = world.refused(&schema(&format!("http://{address}/a.json"))).await;
    std::fs::remove_file(&secret).unwrap();
    if !world.helm.is_fenced() {
        eprintln!("skipped: {}", world.helm.describe());
        return;
    }
    assert!(file.contains("permission denied"), "{file}");
    assert!(web.contains("permission denied"), "{web}");
    let connected = listener.accept().map_err(|error| error.kind());
    assert!(
        matches!(connected, Err(io::ErrorKind::WouldBlock)),
        "{connected:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_that_takes_too_much_is_ended() {
    let Some(mut world) = World::new() else { return };
    let endless = world.template("{{ range untilStep 0 2000000000 1 }}{{ end }}");
    let large = world.template("a: {{ repeat 20000 \"x\" }}");
    let slow = world.template(
        "{{ range until 9999 }}{{ range until 9999 }}{{ if regexMatch \"a*b\" \"aaaaaaaaaaaaaaa\" }}{{ end }}{{ end }}{{ end }}",
    );
    for (processor, files, expected) in [
        (
            COST.processor,
            &endless,
            "web/Chart.yaml: helm: the chart needs more than 512 MiB of memory",
        ),
        (
            COST.processor,
            &large,
            "web/Chart.yaml: helm: the chart renders to more than 10000 bytes",
        ),
        (
            1,
            &slow,
            "web/Chart.yaml: helm: the chart needs more than 1 s of a processor",
        ),
    ] {
        world.helm.cost = Cost {
            processor,
            output: 10_000,
            ..COST
        };
        let shared = Arc::new(world);
        assert_eq!(shared.refused(files).await, expected);
        world = Arc::into_inner(shared).unwrap();
    }
    let impatient = Cost {
        time: Duration::from_millis(5),
        ..COST
    };
    let helm = Helm {
        cost: impatient,
        ..world.helm
    };
    let call = Call::default();
    let error = tokio::task::spawn_blocking(move || helm.run(&call))
        .await
        .unwrap();
    assert_eq!(
        error,
        Err(HelmError::Unavailable("helm: no end within 0.005 s".to_owned()))
    );
}

#[test]
fn what_is_no_helm_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().to_owned();
    for program in ["/nonexistent/helm", "/bin/true"] {
        let error = Helm::new(Path::new(program), private.clone()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("helm {program} cannot be used: ")),
            "{error}"
        );
    }
    assert_eq!(number("v3.22.0"), Some((3, 22)));
    assert_eq!(number("3.22.0"), None);
}
