//! Writing: every change goes through here and ends in one commit.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::value::Fields as _;
use crate::store::{
    Key, ManagedFields, Store, check, defaults, event,
    history::Commit,
    managed::{self, Manager},
    patch,
    read::{present, scale},
    request::{FieldValidation, Outcome, PatchKind, Propagation, Request, Response, Verb},
    resource::{self, Generation, Resource},
    schema::Schema,
    selector::Selector,
    status::{Cause, Reason, Status},
    validate, value,
};

/// The finalizers that the garbage collector answers for.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// A request under way: everything but its body.
pub(crate) struct Writing<'a> {
    pub(crate) request: &'a Request,
    /// The kind in which the object is kept; for `events.k8s.io` that is the core's.
    pub(crate) stored: Arc<Resource>,
    pub(crate) now: Timestamp,
    pub(crate) warnings: Vec<String>,
}

impl Writing<'_> {
    fn resource(&self) -> &Resource {
        &self.request.resource
    }

    fn manager(&self) -> Manager {
        let options = &self.request.options;
        let named = !options.field_manager.is_empty();
        Manager {
            name: if named {
                options.field_manager.clone()
            } else {
                self.request.user.clone()
            },
            api_version: self.request.resource.api_version(),
            subresource: self.request.subresource.clone(),
            time: value::time(self.now),
        }
    }
}

/// Where the field owners of an update come from.
#[derive(Clone, Copy)]
enum Owners {
    /// To be worked out from what changed.
    Changed,
    /// Server-side apply has put them into the object.
    Applied,
}

impl Store {
    pub(crate) fn write(&mut self, mut request: Request, now: Timestamp) -> Result<Response, Status> {
        let body = std::mem::take(&mut request.body);
        let stored = if request.resource.is_new_event() {
            self.registry
                .by_group("", "events")
                .unwrap_or(&request.resource)
                .clone()
        } else {
            request.resource.clone()
        };
        let mut writing = Writing {
            request: &request,
            stored,
            now,
            warnings: Vec::new(),
        };
        // What a dry run would take, such as an address, is given back.
        let ids = request.options.dry_run.then(|| self.ids.clone());
        let outcome = self.dispatch(&mut writing, body);
        let warnings = writing.warnings;
        if let Some(ids) = ids {
            self.ids = ids;
        }
        Ok(Response {
            outcome: outcome?,
            warnings,
        })
    }

    fn dispatch(&mut self, writing: &mut Writing<'_>, body: Value) -> Result<Outcome, Status> {
        let request = writing.request;
        let resource = writing.resource();
        match (request.verb, request.subresource.as_str()) {
            (Verb::Create, "") if resource.review => {
                Ok(Outcome::Created(Arc::new(review(body, &request.user))))
            }
            (Verb::Create, "") => self.create(writing, body).map(Outcome::Created),
            (Verb::Create, "eviction") if resource.is("", "pods") => self.evict(writing, &body),
            (Verb::Update, "") => self.update(writing, body),
            (Verb::Update, "status") if resource.status => self.update(writing, body),
            (Verb::Patch, "") => self.patch(writing, body),
            (Verb::Patch, "status") if resource.status => self.patch(writing, body),
            (Verb::Update | Verb::Patch, "scale") if resource.scale.is_some() => {
                self.write_scale(writing, body)
            }
            (Verb::Delete, "") => self.delete(writing, &key(request)),
            (Verb::DeleteCollection, "") => self.delete_collection(writing),
            (_, "") => Err(Status::method_not_allowed(resource, request.verb.as_str())),
            _ => Err(Status::new(
                Reason::NotFound,
                "the server could not find the requested resource",
            )),
        }
    }

    // ------------------------------------------------------------------------------------------------ create

    fn create(&mut self, writing: &mut Writing<'_>, body: Value) -> Result<Arc<Value>, Status> {
        let object = decode(writing, body)?;
        self.insert(writing, object, Owners::Changed)
    }

    fn insert(
        &mut self,
        writing: &Writing<'_>,
        mut object: Value,
        owners: Owners,
    ) -> Result<Arc<Value>, Status> {
        let request = writing.request;
        let given = value::meta(&object, "namespace");
        if writing.stored.namespaced {
            if request.namespace.is_empty() {
                return Err(Status::bad_request(
                    "an empty namespace may not be set during creation",
                ));
            }
            if !given.is_empty() && given != request.namespace {
                let message =
                    "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Status::bad_request(message));
            }
        } else if !given.is_empty() {
            return Err(Status::bad_request("namespace is not allowed on this type"));
        }
        if !value::meta(&object, "resourceVersion").is_empty() {
            return Err(Status::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        self.in_namespace(writing, value::meta(&object, "name"))?;
        let name = self.name_for(writing, &object)?;
        let uid = self.ids.uid();
        let metadata = value::metadata(&mut object);
        let applied = metadata.remove("managedFields");
        for key in [
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
        ] {
            metadata.remove(key);
        }
        metadata.insert("name".to_owned(), json!(name));
        if writing.stored.namespaced {
            metadata.insert("namespace".to_owned(), json!(request.namespace));
        }
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), value::time(writing.now));
        if writing.stored.generation != Generation::Never {
            metadata.insert("generation".to_owned(), json!(1));
        }
        if writing.stored.status {
            defaults::first_status(&writing.stored, &mut object, writing.now);
        }
        self.complete(writing, &mut object);
        validate::validate(&writing.stored, &object, None)?;
        let key = (request.namespace.clone(), name);
        if self.object(&writing.stored, &key).is_some() {
            return Err(Status::already_exists(&writing.stored, &key.1));
        }
        match owners {
            Owners::Applied => value::set(&mut object, &["metadata", "managedFields"], applied),
            Owners::Changed if self.settings.managed_fields == ManagedFields::Always => {
                managed::update(
                    &json!({}),
                    &mut object,
                    &writing.manager(),
                    &writing.stored.schema,
                );
            }
            Owners::Changed => {}
        }
        self.size_allowed(&object)?;
        self.install(writing, &object)?;
        Ok(present(
            writing.resource(),
            &self.commit(writing, &key, None, Some(object), None),
        ))
    }

    /// The name of a new object: its own, or one made from `generateName`.
    fn name_for(&mut self, writing: &Writing<'_>, object: &Value) -> Result<String, Status> {
        let name = value::meta(object, "name");
        if !name.is_empty() {
            return Ok(name.to_owned());
        }
        let prefix = value::meta(object, "generateName");
        if prefix.is_empty() {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Status::invalid(&writing.stored, "", vec![cause]));
        }
        let prefix: String = prefix.chars().take(248).collect();
        loop {
            let name = format!("{prefix}{}", self.ids.suffix());
            if self
                .object(
                    &writing.stored,
                    &(writing.request.namespace.clone(), name.clone()),
                )
                .is_none()
            {
                return Ok(name);
            }
        }
    }

    /// Whether the namespace takes new objects.
    fn in_namespace(&self, writing: &Writing<'_>, name: &str) -> Result<(), Status> {
        let namespace = &writing.request.namespace;
        let Some(namespaces) = self
            .registry
            .by_group("", "namespaces")
            .filter(|_| writing.stored.namespaced)
        else {
            return Ok(());
        };
        let Some(found) = self.object(namespaces, &(String::new(), namespace.clone())) else {
            return Err(Status::not_found(namespaces, namespace));
        };
        if value::meta(found, "deletionTimestamp").is_empty() {
            return Ok(());
        }
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(&writing.stored, name, &why);
        status.details.causes = vec![Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        }];
        Err(status)
    }

    /// Fills in what the server adds to a spec.
    fn complete(&mut self, writing: &Writing<'_>, object: &mut Value) {
        if writing.stored.custom {
            check::fill(object, &writing.stored.schema);
        } else {
            defaults::fill(&writing.stored, object, &mut self.ids);
        }
    }

    fn size_allowed(&self, object: &Value) -> Result<(), Status> {
        let limit = self.settings.max_object_bytes;
        if value::size(object) <= limit {
            return Ok(());
        }
        Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit}"),
        ))
    }

    // ------------------------------------------------------------------------------------------------ update

    fn update(&mut self, writing: &mut Writing<'_>, body: Value) -> Result<Outcome, Status> {
        let request = writing.request;
        let key = key(request);
        let mut object = decode(writing, body)?;
        let name = value::meta(&object, "name");
        if name != request.name {
            let message = if name.is_empty() {
                "resource name may not be empty".to_owned()
            } else {
                format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    request.name
                )
            };
            return Err(Status::bad_request(message));
        }
        if writing.stored.namespaced {
            value::metadata(&mut object).insert("namespace".to_owned(), json!(request.namespace));
        }
        let Some(old) = self.object(&writing.stored, &key).cloned() else {
            if writing.stored.create_on_update && request.subresource.is_empty() {
                value::metadata(&mut object).remove("resourceVersion");
                return self.create(writing, object).map(Outcome::Created);
            }
            return Err(Status::not_found(&writing.stored, &request.name));
        };
        let unconditional = value::meta(&object, "resourceVersion").is_empty();
        if unconditional && (writing.stored.custom || !writing.stored.unconditional_update) {
            let detail = "must be specified for an update";
            let mut cause = Cause::invalid("metadata.resourceVersion", &Value::Null, detail);
            cause.message = format!("Invalid value: 0: {detail}");
            return Err(Status::invalid(&writing.stored, &request.name, vec![cause]));
        }
        self.replace(writing, &key, &old, object, Owners::Changed)
    }

    fn patch(&mut self, writing: &mut Writing<'_>, body: Value) -> Result<Outcome, Status> {
        let request = writing.request;
        let key = key(request);
        if request.patch == PatchKind::Apply {
            return self.apply(writing, &key, body);
        }
        if request.patch == PatchKind::Strategic && writing.resource().custom {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Status::new(Reason::UnsupportedMediaType, message));
        }
        let Some(old) = self.object(&writing.stored, &key).cloned() else {
            return Err(Status::not_found(&writing.stored, &request.name));
        };
        let mut object = if request.subresource == "status" && request.patch == PatchKind::Merge {
            // what else the patch says is not written: the rest of the object need not be copied for it
            without_the_rest(&present(writing.resource(), &old))
        } else {
            value::own(present(writing.resource(), &old))
        };
        change(request, writing.resource(), &mut object, body)?;
        let object = decode(writing, object)?;
        self.replace(writing, &key, &old, object, Owners::Changed)
    }

    fn apply(&mut self, writing: &mut Writing<'_>, key: &Key, body: Value) -> Result<Outcome, Status> {
        let request = writing.request;
        if request.options.field_manager.is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            let mut status = Status::new(
                Reason::Invalid,
                format!(
                    "PatchOptions.meta.k8s.io \"\" is invalid: {}: {}",
                    cause.field, cause.message
                ),
            );
            status.details.causes = vec![cause];
            return Err(status);
        }
        if body
            .field("/metadata/managedFields")
            .is_some_and(|m| !m.is_null())
        {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let mut applied = decode(writing, body)?;
        let name = value::meta(&applied, "name");
        if !name.is_empty() && name != request.name {
            let message = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                request.name
            );
            return Err(Status::bad_request(message));
        }
        // fields that this endpoint does not write are not owned either
        if request.subresource == "status" {
            let map = value::object(&mut applied);
            map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        } else if writing.stored.status {
            value::object(&mut applied).remove("status");
        }
        let metadata = value::metadata(&mut applied);
        metadata.insert("name".to_owned(), json!(request.name));
        if writing.stored.namespaced {
            metadata.insert("namespace".to_owned(), json!(request.namespace));
        }
        let live = self.object(&writing.stored, key).cloned();
        let manager = writing.manager();
        let force = request.options.force;
        let Some(old) = live else {
            if !request.subresource.is_empty() {
                return Err(Status::not_found(&writing.stored, &request.name));
            }
            let nothing = json!({});
            let merged = managed::apply(&writing.stored, &nothing, &applied, &manager, force)?;
            return self
                .insert(writing, merged, Owners::Applied)
                .map(Outcome::Created);
        };
        let given = value::meta(&applied, "resourceVersion");
        if !given.is_empty() && given != value::meta(&old, "resourceVersion") {
            return Err(Status::modified(&writing.stored, &request.name));
        }
        let merged = managed::apply(&writing.stored, &old, &applied, &manager, force)?;
        self.replace(writing, key, &old, merged, Owners::Applied)
    }

    fn write_scale(&mut self, writing: &mut Writing<'_>, body: Value) -> Result<Outcome, Status> {
        let request = writing.request;
        let key = key(request);
        let Some(old) = self.object(&writing.stored, &key).cloned() else {
            return Err(Status::not_found(&writing.stored, &request.name));
        };
        let mut wanted = body;
        if request.verb == Verb::Patch {
            let patch = wanted;
            wanted = scale(writing.resource(), &old)?;
            let kind = Schema::builtin("autoscaling/v1", "Scale");
            let kind = Resource {
                schema: kind.unwrap_or_else(Schema::permissive),
                ..Resource::default()
            };
            change(request, &kind, &mut wanted, patch)?;
        }
        let replicas = wanted
            .field("/spec/replicas")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if replicas < 0 {
            let kind = Resource {
                group: "autoscaling".to_owned(),
                kind: "Scale".to_owned(),
                ..Resource::default()
            };
            let cause = Cause::invalid(
                "spec.replicas",
                &json!(replicas),
                "must be greater than or equal to 0",
            );
            return Err(Status::invalid(&kind, &request.name, vec![cause]));
        }
        let mut object = (*old).clone();
        if let Some(paths) = &writing.stored.scale {
            value::set(&mut object, &paths.spec_replicas, Some(json!(replicas)));
        }
        value::copy(&wanted, &mut object, &["metadata", "resourceVersion"]);
        value::copy(&wanted, &mut object, &["metadata", "uid"]);
        let outcome = self.replace(writing, &key, &old, object, Owners::Changed)?;
        let (Outcome::Object(object) | Outcome::Created(object) | Outcome::Deleted(object)) = outcome else {
            return Ok(outcome);
        };
        Ok(Outcome::Object(Arc::new(scale(writing.resource(), &object)?)))
    }

    /// Puts `new` in the place of `old`: the common end of update, patch, apply and scale.
    fn replace(
        &mut self,
        writing: &mut Writing<'_>,
        key: &Key,
        old: &Arc<Value>,
        mut new: Value,
        owners: Owners,
    ) -> Result<Outcome, Status> {
        let request = writing.request;
        let resource = writing.stored.clone();
        let (given, uid) = (value::meta(&new, "resourceVersion"), value::meta(&new, "uid"));
        let live_uid = value::meta(old, "uid");
        if !uid.is_empty() && uid != live_uid {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {live_uid}");
            return Err(Status::conflict(&resource, &key.1, &why));
        }
        if !given.is_empty() && given != value::meta(old, "resourceVersion") {
            return Err(Status::modified(&resource, &key.1));
        }
        if value::meta(&new, "name") != key.1 || value::meta(&new, "namespace") != key.0 {
            let cause = Cause::invalid(
                "metadata.name",
                &json!(value::meta(&new, "name")),
                "field is immutable",
            );
            return Err(Status::invalid(&resource, &key.1, vec![cause]));
        }
        keep_what_is_not_written(&resource, &request.subresource, old, &mut new);
        self.complete(writing, &mut new);
        validate::validate(&resource, &new, Some(old))?;
        if counts(&resource, old, &new) {
            let generation = old
                .field("/metadata/generation")
                .and_then(Value::as_i64)
                .unwrap_or(0);
            value::metadata(&mut new).insert("generation".to_owned(), json!(generation + 1));
        }
        if matches!(owners, Owners::Changed) {
            managed::update(old, &mut new, &writing.manager(), &resource.schema);
        }
        if new == **old {
            // the real server does not write what does not change
            return Ok(Outcome::Object(present(writing.resource(), old)));
        }
        self.size_allowed(&new)?;
        self.install(writing, &new)?;
        let before = Some(old.clone());
        let leaving = !value::meta(&new, "deletionTimestamp").is_empty()
            && new
                .field("/metadata/finalizers")
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty)
            && new
                .field("/metadata/deletionGracePeriodSeconds")
                .and_then(Value::as_i64)
                .unwrap_or(0)
                == 0;
        let object = if leaving {
            self.commit(writing, key, before, None, Some(new))
        } else {
            self.commit(writing, key, before, Some(new), None)
        };
        Ok(Outcome::Object(present(writing.resource(), &object)))
    }

    /// Puts an object in the place of one that is there, as it is. For the cluster's own controllers, which write nothing that
    /// would be refused: to look through whole objects for that takes longer than everything else that they do. Nothing happens
    /// when nothing changes; the metadata stay.
    ///
    /// # Errors
    /// 404 if there is nothing to replace.
    pub(crate) fn put(&mut self, request: &Request, now: Timestamp, mut new: Value) -> Result<(), Status> {
        let key = key(request);
        let writing = Writing {
            request,
            stored: request.resource.clone(),
            now,
            warnings: Vec::new(),
        };
        let old = self.object(&writing.stored, &key).cloned();
        let old = old.ok_or_else(|| Status::not_found(&writing.stored, &request.name))?;
        value::copy(&old, &mut new, &["metadata"]);
        if new != *old {
            if counts(&writing.stored, &old, &new) {
                let generation = old.field("/metadata/generation").and_then(Value::as_i64);
                value::metadata(&mut new).insert("generation".to_owned(), json!(generation.unwrap_or(0) + 1));
            }
            self.commit(&writing, &key, Some(old), Some(new), None);
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------ delete

    fn delete(&mut self, writing: &Writing<'_>, key: &Key) -> Result<Outcome, Status> {
        let options = &writing.request.options;
        let resource = &writing.stored;
        let old = self
            .object(resource, key)
            .cloned()
            .ok_or_else(|| Status::not_found(resource, &key.1))?;
        let uid = value::meta(&old, "uid");
        if let Some(wanted) = options.precondition_uid.as_ref().filter(|wanted| *wanted != uid) {
            let why = format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have \
                 been deleted and then recreated"
            );
            return Err(unmet(resource, &key.1, &why));
        }
        let version = value::meta(&old, "resourceVersion");
        if let Some(wanted) = options
            .precondition_resource_version
            .as_ref()
            .filter(|wanted| *wanted != version)
        {
            let why = format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            );
            return Err(unmet(resource, &key.1, &why));
        }
        let mut new = (*old).clone();
        let finalizers = finalizers_for(&new, options.propagation);
        let grace = grace(resource, &old, options.grace_period_seconds);
        let deleting = !value::meta(&old, "deletionTimestamp").is_empty();
        let is_namespace = resource.is("", "namespaces");
        if finalizers.is_empty() && grace == 0 && !is_namespace {
            return Ok(Outcome::Deleted(present(
                writing.resource(),
                &self.commit(writing, key, Some(old), None, Some(new)),
            )));
        }
        let had_grace = old
            .field("/metadata/deletionGracePeriodSeconds")
            .and_then(Value::as_i64);
        let metadata = value::metadata(&mut new);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), json!(finalizers));
        }
        if !deleting || had_grace.is_some_and(|had| grace < had) {
            let at = writing
                .now
                .checked_add(jiff::SignedDuration::from_secs(grace))
                .unwrap_or(writing.now);
            metadata.insert("deletionTimestamp".to_owned(), value::time(at));
            if !is_namespace {
                metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
            }
            if let (false, Some(generation)) = (deleting, metadata.get("generation").and_then(Value::as_i64))
            {
                metadata.insert("generation".to_owned(), json!(generation + 1));
            }
        }
        if is_namespace {
            value::set(&mut new, &["status", "phase"], Some(json!("Terminating")));
        }
        if new == *old {
            return Ok(Outcome::Object(present(writing.resource(), &old)));
        }
        let object = self.commit(writing, key, Some(old), Some(new), None);
        Ok(Outcome::Object(present(writing.resource(), &object)))
    }

    fn delete_collection(&mut self, writing: &Writing<'_>) -> Result<Outcome, Status> {
        let request = writing.request;
        let (resource, options) = (&request.resource, &request.options);
        let selector = Selector::parse(resource, &options.label_selector, &options.field_selector)?;
        let found: Vec<Arc<Value>> = self
            .objects(resource, &request.namespace)
            .filter(|object| selector.matches(object))
            .collect();
        for object in &found {
            let key = (
                value::meta(object, "namespace").to_owned(),
                value::meta(object, "name").to_owned(),
            );
            self.delete(writing, &key)?;
        }
        Ok(Outcome::List(crate::store::List {
            items: found,
            revision: self.revision,
            ..Default::default()
        }))
    }

    /// Deletes a pod on behalf of an Eviction. There are no disruption budgets here: a fault can refuse instead.
    fn evict(&mut self, writing: &Writing<'_>, body: &Value) -> Result<Outcome, Status> {
        let options = body.get("deleteOptions");
        let mut request = writing.request.clone();
        let seconds = options
            .and_then(|o| o.get("gracePeriodSeconds"))
            .and_then(Value::as_i64);
        request.options.grace_period_seconds = seconds.or(request.options.grace_period_seconds);
        let uid = options
            .and_then(|o| o.field("/preconditions/uid"))
            .and_then(Value::as_str);
        request.options.precondition_uid = uid.map(str::to_owned).or(request.options.precondition_uid);
        if request.name.is_empty() {
            value::meta(body, "name").clone_into(&mut request.name);
        }
        let inner = Writing {
            request: &request,
            stored: writing.stored.clone(),
            now: writing.now,
            warnings: Vec::new(),
        };
        self.delete(&inner, &key(&request))?;
        Ok(Outcome::Created(Arc::new(
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        )))
    }

    // ------------------------------------------------------------------------------------------------ commit

    /// Stores a change, unless this is a dry run: the one place where the state changes. For a deletion `after` is
    /// `None` and `last` the object's last state.
    pub(crate) fn commit(
        &mut self,
        writing: &Writing<'_>,
        key: &Key,
        before: Option<Arc<Value>>,
        after: Option<Value>,
        last: Option<Value>,
    ) -> Arc<Value> {
        if writing.request.options.dry_run {
            return Arc::new(after.or(last).unwrap_or_default());
        }
        self.revision += 1;
        let numbered = |mut object: Value| {
            value::metadata(&mut object)
                .insert("resourceVersion".to_owned(), json!(self.revision.to_string()));
            Arc::new(object)
        };
        let (after, last) = (after.map(numbered), last.map(numbered));
        let table_name = writing.stored.table();
        if !self.tables.contains_key(table_name) {
            self.tables.insert(table_name.to_string(), BTreeMap::new());
        }
        if let Some(table) = self.tables.get_mut(table_name) {
            match &after {
                Some(object) => drop(table.insert(key.clone(), object.clone())),
                None => drop(table.remove(key)),
            }
        }
        self.garbage
            .note(table_name, key, before.as_deref(), after.as_deref());
        let shown = after.clone().or_else(|| last.clone()).unwrap_or_default();
        let request = writing.request;
        let commit = Commit {
            revision: self.revision,
            at: writing.now,
            user: request.user.clone(),
            field_manager: request.options.field_manager.clone(),
            verb: request.verb,
            resource: writing.stored.clone(),
            subresource: request.subresource.clone(),
            namespace: key.0.clone(),
            name: key.1.clone(),
            before,
            after,
            last,
        };
        let gone_definition = commit.after.is_none()
            && writing
                .stored
                .is("apiextensions.k8s.io", "customresourcedefinitions");
        self.history.push(table_name, Arc::new(commit));
        if gone_definition {
            self.uninstall(writing, &shown);
        }
        shown
    }

    /// Makes the kinds of a CustomResourceDefinition known.
    fn install(&mut self, writing: &Writing<'_>, object: &Value) -> Result<(), Status> {
        if writing.request.options.dry_run
            || !writing
                .stored
                .is("apiextensions.k8s.io", "customresourcedefinitions")
        {
            return Ok(());
        }
        let kinds = resource::from_definition(object).map_err(|why| {
            let cause = Cause::required("spec", &why);
            Status::invalid(&writing.stored, value::meta(object, "name"), vec![cause])
        })?;
        if let Some(first) = kinds.first() {
            self.registry.remove(&first.group, &first.plural);
        }
        for kind in kinds {
            self.registry.register(kind);
        }
        Ok(())
    }

    /// Forgets the kinds of a CustomResourceDefinition, and their objects.
    fn uninstall(&mut self, writing: &Writing<'_>, definition: &Value) {
        let group = value::text(definition, &["spec", "group"]);
        let plural = value::text(definition, &["spec", "names", "plural"]);
        if let Some(kind) = self.registry.by_group(group, plural).cloned() {
            let gone: Vec<(Key, Arc<Value>)> = self
                .tables
                .get(kind.table())
                .map(|t| t.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
                .unwrap_or_default();
            let inner = Writing {
                request: writing.request,
                stored: kind,
                now: writing.now,
                warnings: Vec::new(),
            };
            for (key, object) in gone {
                let last = (*object).clone();
                self.commit(&inner, &key, Some(object), None, Some(last));
            }
        }
        self.registry.remove(group, plural);
    }
}

fn key(request: &Request) -> Key {
    (request.namespace.clone(), request.name.clone())
}

/// Brings a body into the form in which it is kept, or says why it is none of that kind.
fn decode(writing: &mut Writing<'_>, mut object: Value) -> Result<Value, Status> {
    let resource = &writing.request.resource;
    let (kind, api_version) = (resource.kind.as_str(), resource.api_version());
    let cannot = |why: &str| {
        let version = &resource.version;
        Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        ))
    };
    if !object.is_object() {
        return Err(cannot("json: cannot unmarshal a value that is not an object"));
    }
    for (field, wanted) in [("kind", kind), ("apiVersion", &api_version)] {
        let given = value::text(&object, &[field]);
        if given.is_empty() && !resource.custom {
            value::object(&mut object).insert(field.to_owned(), json!(wanted));
        } else if given.is_empty() {
            let title = if field == "kind" { "Kind" } else { field };
            return Err(Status::bad_request(format!(
                "Object '{title}' is missing in '{object}'"
            )));
        } else if given != wanted {
            let what = if field == "kind" { "kind" } else { "API version" };
            return Err(Status::bad_request(format!(
                "the {what} in the data ({given}) does not match the expected {what} ({wanted})"
            )));
        }
    }
    let mut dropped = Vec::new();
    check::prune(&mut object, &resource.schema, &mut dropped);
    if !dropped.is_empty() {
        match writing.request.options.field_validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => writing
                .warnings
                .extend(dropped.iter().map(|path| format!("unknown field {path:?}"))),
            FieldValidation::Strict => {
                let list = dropped
                    .iter()
                    .map(|path| format!("unknown field {path:?}"))
                    .collect::<Vec<_>>()
                    .join(", ");
                return Err(cannot(&format!("strict decoding error: {list}")));
            }
        }
    }
    if resource.custom {
        if let Some(metadata) = value::object(&mut object).get_mut("metadata") {
            check::retype(metadata, &crate::store::Schema::object_meta()).map_err(|why| cannot(&why))?;
        }
    } else {
        check::retype(&mut object, &resource.schema).map_err(|why| cannot(&why))?;
    }
    value::metadata(&mut object);
    if resource.is_new_event() {
        event::to_core(&mut object);
    }
    Ok(object)
}

/// What a write of the status may look at or change.
fn without_the_rest(object: &Value) -> Value {
    ["apiVersion", "kind", "metadata", "status"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), object.get(key)?.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Applies a patch body to an object.
fn change(request: &Request, resource: &Resource, object: &mut Value, body: Value) -> Result<(), Status> {
    match request.patch {
        PatchKind::Json => patch::json(object, body),
        PatchKind::Strategic => patch::strategic(object, body, &resource.schema),
        PatchKind::Merge | PatchKind::Apply => {
            if !body.is_object() {
                return Err(Status::bad_request("the merge patch is not an object"));
            }
            json_patch::merge(object, &body);
            Ok(())
        }
    }
}

/// A copy of an object but for one field, which may be large.
pub(crate) fn copy_but(object: &Value, left_out: &str) -> Value {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(key, _)| *key != left_out)
        .map(|(key, inner)| (key.clone(), inner.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// Carries over what a write of this (sub)resource may not change.
fn keep_what_is_not_written(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    match subresource {
        "status" => {
            let status = value::object(new).remove("status");
            let managed = new.field("/metadata/managedFields").cloned();
            let metadata = value::object(new).remove("metadata");
            *new = copy_but(old, "status");
            value::set(new, &["status"], status);
            match metadata {
                // custom resources keep all of their metadata but the field owners
                _ if resource.custom => value::set(new, &["metadata", "managedFields"], managed),
                Some(metadata) => drop(value::object(new).insert("metadata".to_owned(), metadata)),
                None => {}
            }
        }
        "" if resource.status => value::copy(old, new, &["status"]),
        _ => {}
    }
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "selfLink",
    ] {
        value::copy(old, new, &["metadata", key]);
    }
    if resource.is("", "services") {
        // a client that left the address out does not want another one
        for key in ["clusterIP", "clusterIPs"] {
            if value::text(new, &["spec", "type"]) != "ExternalName"
                && new.field("/spec").is_some_and(|s| s.get(key).is_none())
            {
                value::copy(old, new, &["spec", key]);
            }
        }
    }
}

/// Whether a change raises the generation.
fn counts(resource: &Resource, old: &Value, new: &Value) -> bool {
    let differs = |key: &str| old.get(key) != new.get(key);
    match &resource.generation {
        Generation::Never => false,
        Generation::With(fields) => fields.iter().any(|key| differs(key)),
        Generation::SpecAndAnnotations => {
            differs("spec") || old.field("/metadata/annotations") != new.field("/metadata/annotations")
        }
        Generation::AllButMetadata => {
            let ignored = |key: &String| key == "metadata" || (key == "status" && resource.status);
            let keys = |object: &Value| -> Vec<String> {
                object
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(key, _)| key.clone())
                    .filter(|k| !ignored(k))
                    .collect()
            };
            keys(old).iter().chain(&keys(new)).any(|key| differs(key))
        }
    }
}

/// The finalizers of an object that is about to be deleted.
fn finalizers_for(object: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let list = object.field("/metadata/finalizers").and_then(Value::as_array);
    let mut list: Vec<String> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let Some(propagation) = propagation else {
        return list;
    };
    list.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
    match propagation {
        Propagation::Foreground => list.push(FOREGROUND.to_owned()),
        Propagation::Orphan => list.push(ORPHAN.to_owned()),
        Propagation::Background => {}
    }
    list
}

/// 409 for a precondition of a delete: here the real server names the kind, not the plural.
fn unmet(resource: &Resource, name: &str, why: &str) -> Status {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": {why}",
        resource.group_kind()
    );
    Status {
        message,
        ..Status::conflict(resource, name, why)
    }
}

/// Seconds that the kubelet gets to stop a pod; 0 for everything else.
fn grace(resource: &Resource, object: &Value, asked: Option<i64>) -> i64 {
    let running = resource.graceful
        && !value::text(object, &["spec", "nodeName"]).is_empty()
        && !matches!(value::text(object, &["status", "phase"]), "Succeeded" | "Failed");
    if !running {
        return 0;
    }
    let own = || {
        object
            .field("/spec/terminationGracePeriodSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(30)
    };
    asked.unwrap_or_else(own).max(0)
}

/// Answers a review: everybody may do everything here.
fn review(mut body: Value, user: &str) -> Value {
    let status = match value::text(&body, &["kind"]) {
        "SelfSubjectReview" => json!({"userInfo": {"username": user, "groups": ["system:masters"]}}),
        "TokenReview" => json!({"authenticated": true, "user": {"username": user}}),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false,
        }),
        _ => json!({"allowed": true, "reason": "the simulated cluster allows everything"}),
    };
    value::metadata(&mut body);
    value::object(&mut body).insert("status".to_owned(), status);
    body
}
