//! What kinds of objects there are, and by which rules each is kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, OnceLock},
};

use serde_json::Value;

use crate::store::value::Fields as _;
use crate::store::{schema::Schema, value};

/// When `metadata.generation` goes up. Every kind that has one starts at 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    #[default]
    Never,
    /// With these fields of the root, `spec` mostly.
    With(Vec<String>),
    /// With `spec` or the annotations (Deployments).
    SpecAndAnnotations,
    /// With anything but metadata, and but `status` where that is a subresource (custom resources).
    AllButMetadata,
}

/// Where the scale subresource finds its numbers, as paths from the root of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// Desired replicas.
    pub spec_replicas: Vec<String>,
    /// Replicas there are.
    pub status_replicas: Vec<String>,
    /// The label selector as text; `None` takes `spec.selector` of a workload.
    pub selector: Option<Vec<String>>,
}

/// A column of `kubectl get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Where the value is, as a JSON path (`.status.phase`).
    pub path: String,
    /// 0 is shown always, more only with `-o wide`.
    pub priority: i64,
}

/// A kind of object, as served in one version.
#[derive(Clone, Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent switches of the API, each named as there"
)]
pub struct Resource {
    /// API group, empty for the core.
    pub group: String,
    /// `v1`, `v1alpha1`…
    pub version: String,
    /// `Rollout`.
    pub kind: String,
    /// `rollouts`.
    pub plural: String,
    /// `rollout`.
    pub singular: String,
    /// `ro`.
    pub short_names: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `/status` is a subresource: then it alone writes `status`.
    pub status: bool,
    /// Whether and where `/scale` is a subresource.
    pub scale: Option<ScalePaths>,
    /// When the generation goes up.
    pub generation: Generation,
    /// Whether a PUT to a name that is not there creates it.
    pub create_on_update: bool,
    /// Whether a PUT may come without a resourceVersion.
    pub unconditional_update: bool,
    /// Whether a delete waits for the kubelet, by `deletionGracePeriodSeconds` (pods).
    pub graceful: bool,
    /// Whether nothing is stored: the server answers a create and forgets it (access reviews).
    pub review: bool,
    /// Whether it was defined by a CustomResourceDefinition or is one of `argoproj.io`'s kinds.
    pub custom: bool,
    /// Field selectors beyond `metadata.name` and `metadata.namespace`.
    pub field_labels: Vec<String>,
    /// Columns of `kubectl get` after Name (custom resources; Kubernetes' own are drawn by the HTTP face).
    pub columns: Vec<Column>,
    /// What an object holds.
    pub schema: Arc<Schema>,
    /// [`Self::table`], put together once: every read and write asks for it.
    pub(crate) table: OnceLock<String>,
}

impl Resource {
    /// A namespaced custom resource without a schema: everything is kept as it is.
    pub fn custom(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            namespaced: true,
            generation: Generation::AllButMetadata,
            custom: true,
            columns: vec![Column::age()],
            schema: Schema::permissive(),
            ..Self::default()
        }
    }

    /// `apps/v1`, or `v1` for the core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether this is its `apiVersion`.
    pub(crate) fn is_api_version(&self, text: &str) -> bool {
        let (group, version) = text.split_once('/').unwrap_or(("", text));
        group == self.group && version == self.version
    }

    /// `rollouts.argoproj.io`, or `pods` for the core: as the server's messages have it.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Rollout.argoproj.io`, or `Pod` for the core.
    pub fn group_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    /// Name of the table that holds the objects: all versions of a kind share one, and so do both groups of events.
    pub(crate) fn table(&self) -> &str {
        if self.is_new_event() {
            "events"
        } else if self.group.is_empty() {
            &self.plural
        } else {
            self.table.get_or_init(|| self.group_resource())
        }
    }

    /// Whether this is `events.k8s.io`, a second form of the core's events.
    pub(crate) fn is_new_event(&self) -> bool {
        self.group == "events.k8s.io" && self.plural == "events"
    }

    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// The verbs of the main resource, for discovery.
    pub fn verbs(&self) -> &'static [&'static str] {
        if self.review {
            return &["create"];
        }
        &[
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
    }

    /// The subresources that are served.
    pub fn subresources(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.is("", "pods") {
            names.push("eviction");
        }
        if self.scale.is_some() {
            names.push("scale");
        }
        if self.status {
            names.push("status");
        }
        names
    }
}

impl Column {
    /// The age, which every kind has.
    pub fn age() -> Self {
        Self::new("Age", "date", ".metadata.creationTimestamp")
    }

    /// A column that is shown always.
    pub fn new(name: &str, kind: &str, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            path: path.to_owned(),
            priority: 0,
        }
    }
}

/// The known kinds.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    by_plural: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Registry {
    /// Adds a kind, or replaces what was known of it.
    pub fn register(&mut self, mut resource: Resource) -> Arc<Resource> {
        // it may be made from another one
        resource.table = OnceLock::new();
        let resource = Arc::new(resource);
        let key = (
            resource.group.clone(),
            resource.version.clone(),
            resource.plural.clone(),
        );
        self.by_plural.insert(key, resource.clone());
        resource
    }

    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        self.by_plural.retain(|_, r| !r.is(group, plural));
    }

    /// The kind served at `/apis/GROUP/VERSION/…/PLURAL`.
    pub fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_plural
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The kind of an object.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.all()
            .find(|r| r.kind == kind && r.group == group && r.version == version)
    }

    /// A kind by group and plural, in any version.
    pub fn by_group(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.all().find(|r| r.is(group, plural))
    }

    /// All kinds, by group, version and plural.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_plural.values()
    }

    /// Kubernetes' own kinds that clients of this project meet, the five of `argoproj.io`, and our own.
    pub fn standard() -> Self {
        static STANDARD: LazyLock<Registry> = LazyLock::new(|| {
            let mut registry = Registry::default();
            for resource in BUILTIN.lines().filter_map(builtin) {
                registry.register(resource);
            }
            registry.add_reviews();
            registry.add_argoproj();
            registry.add_own();
            registry
        });
        STANDARD.clone()
    }

    fn add_reviews(&mut self) {
        let kinds = [
            (
                "authorization.k8s.io",
                "SelfSubjectAccessReview",
                "selfsubjectaccessreviews",
            ),
            (
                "authorization.k8s.io",
                "SelfSubjectRulesReview",
                "selfsubjectrulesreviews",
            ),
            (
                "authorization.k8s.io",
                "SubjectAccessReview",
                "subjectaccessreviews",
            ),
            ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
            ("authentication.k8s.io", "TokenReview", "tokenreviews"),
        ];
        for (group, kind, plural) in kinds {
            let resource = Resource::custom(group, "v1", kind, plural);
            self.register(Resource {
                namespaced: false,
                review: true,
                custom: false,
                generation: Generation::Never,
                columns: Vec::new(),
                schema: Schema::builtin(&resource.api_version(), kind).unwrap_or_else(Schema::permissive),
                ..resource
            });
        }
    }

    #[expect(clippy::expect_used, reason = "what is compiled in is tested")]
    /// Our own kinds, from the definitions that are shipped.
    fn add_own(&mut self) {
        let definition: Value = serde_saphyr::from_str(include_str!("../../../deploy/crds/deliveries.yaml"))
            .expect("invariant: what is shipped is YAML");
        let kinds = from_definition(&definition).expect("invariant: what is shipped is a definition");
        for kind in kinds {
            self.register(kind);
        }
    }

    /// Names, columns and subresources as upstream's CRDs declare them (testdata/fields, contract 2.1).
    fn add_argoproj(&mut self) {
        let custom = |kind: &str, plural: &str, short: &str| {
            let mut resource = Resource::custom("argoproj.io", "v1alpha1", kind, plural);
            resource.short_names = vec![short.to_owned()];
            resource
        };
        let phase = || vec![Column::new("Status", "string", ".status.phase"), Column::age()];
        self.register(Resource {
            columns: phase(),
            ..custom("AnalysisRun", "analysisruns", "ar")
        });
        self.register(Resource {
            columns: phase(),
            ..custom("Experiment", "experiments", "exp")
        });
        self.register(custom("AnalysisTemplate", "analysistemplates", "at"));
        self.register(Resource {
            namespaced: false,
            ..custom("ClusterAnalysisTemplate", "clusteranalysistemplates", "cat")
        });
        self.register(Resource {
            status: true,
            scale: Some(ScalePaths {
                spec_replicas: value::path(".spec.replicas"),
                status_replicas: value::path(".status.HPAReplicas"),
                selector: Some(value::path(".status.selector")),
            }),
            columns: vec![
                Column::new("Desired", "integer", ".spec.replicas"),
                Column::new("Current", "integer", ".status.replicas"),
                Column::new("Up-to-date", "integer", ".status.updatedReplicas"),
                Column::new("Available", "integer", ".status.availableReplicas"),
                Column::age(),
            ],
            ..custom("Rollout", "rollouts", "ro")
        });
    }
}

/// Kubernetes 1.34, pkg/registry/*/strategy.go: apiVersion, kind, plural, short names, what raises the generation,
/// flags, field selectors; `-` is none.
///
/// Flags: `c` cluster-scoped, `s` status subresource, `r` scale subresource, `p` PUT creates, `v` PUT needs a
/// resourceVersion, `a` in the category `all`, `g` deleted gracefully.
const BUILTIN: &str = "\
v1 Namespace namespaces ns - cs status.phase
v1 Node nodes no - cs spec.unschedulable
v1 Pod pods po spec sag spec.nodeName,spec.restartPolicy,spec.schedulerName,spec.serviceAccountName,spec.hostNetwork,\
status.phase,status.podIP,status.nominatedNodeName
v1 PodTemplate podtemplates - template - -
v1 Service services svc - spa spec.clusterIP,spec.type
v1 Endpoints endpoints ep - p -
v1 ConfigMap configmaps cm - - -
v1 Secret secrets - - - type
v1 ServiceAccount serviceaccounts sa - - -
v1 PersistentVolumeClaim persistentvolumeclaims pvc - s -
v1 Event events ev - p involvedObject.kind,involvedObject.namespace,involvedObject.name,involvedObject.uid,\
involvedObject.apiVersion,involvedObject.resourceVersion,involvedObject.fieldPath,reason,reportingComponent,source,type
events.k8s.io/v1 Event events ev - p regarding.kind,regarding.namespace,regarding.name,regarding.uid,\
regarding.apiVersion,regarding.resourceVersion,regarding.fieldPath,reason,reportingController,type
apps/v1 ReplicaSet replicasets rs spec sra status.replicas
apps/v1 Deployment deployments deploy spec+annotations sra -
apps/v1 StatefulSet statefulsets sts spec sra -
apps/v1 DaemonSet daemonsets ds spec sa -
batch/v1 Job jobs - spec sa status.successful
batch/v1 CronJob cronjobs cj spec sa -
autoscaling/v2 HorizontalPodAutoscaler horizontalpodautoscalers hpa - sa -
discovery.k8s.io/v1 EndpointSlice endpointslices - endpoints,ports - -
networking.k8s.io/v1 Ingress ingresses ing spec s -
networking.k8s.io/v1 IngressClass ingressclasses - spec c -
networking.k8s.io/v1 NetworkPolicy networkpolicies netpol spec - -
coordination.k8s.io/v1 Lease leases - - pv -
policy/v1 PodDisruptionBudget poddisruptionbudgets pdb spec sv -
rbac.authorization.k8s.io/v1 Role roles - - p -
rbac.authorization.k8s.io/v1 RoleBinding rolebindings - - p -
rbac.authorization.k8s.io/v1 ClusterRole clusterroles - - cp -
rbac.authorization.k8s.io/v1 ClusterRoleBinding clusterrolebindings - - cp -
apiextensions.k8s.io/v1 CustomResourceDefinition customresourcedefinitions crd,crds spec csv -
";

/// Reads one row of the table.
fn builtin(row: &str) -> Option<Resource> {
    let mut columns = row
        .split_whitespace()
        .map(|column| if column == "-" { "" } else { column });
    let (api_version, kind, plural) = (columns.next()?, columns.next()?, columns.next()?);
    let (short, generation, flags, fields) =
        (columns.next()?, columns.next()?, columns.next()?, columns.next()?);
    let list = |text: &str| {
        text.split(',')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let has = |flag: char| flags.contains(flag);
    Some(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        short_names: list(short),
        categories: list(if has('a') { "all" } else { "" }),
        namespaced: !has('c'),
        status: has('s'),
        scale: has('r').then(|| ScalePaths {
            spec_replicas: value::path(".spec.replicas"),
            status_replicas: value::path(".status.replicas"),
            selector: None,
        }),
        generation: match generation {
            "" => Generation::Never,
            "spec+annotations" => Generation::SpecAndAnnotations,
            fields => Generation::With(list(fields)),
        },
        create_on_update: has('p'),
        unconditional_update: !has('v'),
        graceful: has('g'),
        field_labels: list(fields),
        schema: Schema::builtin(api_version, kind).unwrap_or_else(Schema::permissive),
        ..Resource::default()
    })
}

/// Reads a CustomResourceDefinition: one kind for each served version.
///
/// # Errors
/// Says which part of the definition is missing.
pub(crate) fn from_definition(definition: &Value) -> Result<Vec<Resource>, String> {
    let spec = definition.get("spec").ok_or("spec is missing")?;
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |of: &Value, key: &str| -> Vec<String> {
        let items = of
            .get(key)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let group = text(spec, "group").ok_or("spec.group is missing")?;
    let names = spec.get("names").ok_or("spec.names is missing")?;
    let kind = text(names, "kind").ok_or("spec.names.kind is missing")?;
    let plural = text(names, "plural").ok_or("spec.names.plural is missing")?;
    let versions = spec
        .get("versions")
        .and_then(Value::as_array)
        .ok_or("spec.versions is missing")?;
    let mut out = Vec::new();
    for version in versions
        .iter()
        .filter(|v| v.get("served").and_then(Value::as_bool).unwrap_or(false))
    {
        let name = text(version, "name").ok_or("spec.versions[].name is missing")?;
        let mut resource = Resource::custom(&group, &name, &kind, &plural);
        resource.singular = text(names, "singular").unwrap_or_else(|| kind.to_lowercase());
        resource.short_names = list(names, "shortNames");
        resource.categories = list(names, "categories");
        resource.namespaced = text(spec, "scope").as_deref() != Some("Cluster");
        if let Some(subresources) = version.get("subresources") {
            resource.status = subresources.get("status").is_some();
            resource.scale = subresources.get("scale").map(|scale| {
                let at = |key: &str| text(scale, key).map(|p| value::path(&p));
                ScalePaths {
                    spec_replicas: at("specReplicasPath").unwrap_or_default(),
                    status_replicas: at("statusReplicasPath").unwrap_or_default(),
                    selector: Some(at("labelSelectorPath").unwrap_or_default()),
                }
            });
        }
        if let Some(columns) = version.get("additionalPrinterColumns").and_then(Value::as_array) {
            let column = |c: &Value| {
                Some(Column {
                    name: text(c, "name")?,
                    kind: text(c, "type")?,
                    path: text(c, "jsonPath")?,
                    priority: c.get("priority").and_then(Value::as_i64).unwrap_or(0),
                })
            };
            resource.columns = columns.iter().filter_map(column).collect();
        }
        if let Some(fields) = version.get("selectableFields").and_then(Value::as_array) {
            let paths = fields.iter().filter_map(|f| text(f, "jsonPath"));
            resource.field_labels = paths.map(|p| p.trim_start_matches('.').to_owned()).collect();
        }
        if let Some(document) = version.field("/schema/openAPIV3Schema") {
            resource.schema = Schema::from_openapi(document);
        }
        out.push(resource);
    }
    Ok(out)
}
