//! Charts, which the controller renders in its pod by the real `helm` (docs/git/helm.md).

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tidegate_e2e::{
    Change, Gitea, Namespace, Release, TestDelivery, Tidegate, condition, e2e, entry, template, text,
};

const LIMIT: Duration = Duration::from_mins(1);
const QUICK: Duration = Duration::from_secs(20);

/// A chart of the demo app: a canary that is promoted by time alone, and a ConfigMap.
fn chart() -> Vec<(String, String)> {
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] },
        })
    };
    let pods = template("{{ .Values.version }}", &[]);
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "{{ .Release.Name }}" },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "web" } }, "template": pods,
            "strategy": { "canary": {
                "stableService": "stable", "canaryService": "canary",
                "steps": [{ "setWeight": 50 }, { "pause": { "duration": 1 } }],
            } },
        },
    });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "values" },
        "data": { "namespace": "{{ .Release.Namespace }}", "region": "{{ .Values.region }}", "size": "{{ .Values.size }}" },
    });
    let file = |path: &str, text: String| (format!("prod/{path}"), text);
    vec![
        file(
            "Chart.yaml",
            "{apiVersion: v2, name: shop, version: 0.1.0}\n".to_owned(),
        ),
        file(
            "values.yaml",
            "{version: v1, region: none, size: none}\n".to_owned(),
        ),
        file("values-eu.yaml", "region: eu\n".to_owned()),
        file(
            "templates/services.yaml",
            format!("{}\n---\n{}\n", service("stable"), service("canary")),
        ),
        file("templates/rollout.yaml", rollout.to_string()),
        file("templates/config.yaml", config.to_string()),
    ]
}

async fn runs(namespace: &Namespace, version: &str, size: &str) -> Result<()> {
    let rollout = Release::of(namespace).rollout().await?;
    assert_eq!(
        text(&rollout, "/spec/template/spec/containers/0/env/0/value"),
        version
    );
    let config = namespace
        .get("configmaps", "values")
        .await?
        .context("no ConfigMap")?;
    let expected = json!({ "namespace": namespace.name(), "region": "eu", "size": size });
    assert_eq!(config["data"], expected);
    Ok(())
}

#[test]
fn a_chart_is_released_by_its_values() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("chart").await?;
        let repository = gitea.create_repository(namespace.name()).await?;
        let source = |size: &str| {
            json!({
                "git": { "url": repository.url(), "path": "prod", "secretRef": { "name": "deploy" } },
                "helm": { "releaseName": "web", "valueFiles": ["values-eu.yaml"], "values": { "size": size } },
            })
        };
        let spec = json!({ "source": source("small") });
        let delivery = TestDelivery::of(&namespace, &gitea, repository.clone(), &spec).await?;
        let first = delivery.repository.push("A chart", &chart()).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        runs(&namespace, "v1", "small").await?;

        // a value of the chart is a release
        let values = (
            "prod/values.yaml".to_owned(),
            "{version: v2, region: none, size: none}\n".to_owned(),
        );
        let second = delivery.repository.push("Another version", &[values]).await?;
        delivery.wait_state(&second, "Deployed", LIMIT).await?;
        runs(&namespace, "v2", "small").await?;

        // so is one of the Delivery
        let before = delivery.get().await?;
        delivery.change(&json!({ "source": source("large") })).await?;
        let what = "the value of the Delivery is what runs";
        let after = delivery
            .wait(what, LIMIT, |delivery| {
                text(delivery, "/status/applied/digest") != text(&before, "/status/applied/digest")
                    && condition(delivery, "Ready") == "True"
            })
            .await?;
        assert!(
            text(&after, "/status/applied/revision").ends_with(&second),
            "{after}"
        );
        runs(&namespace, "v2", "large").await?;
        Ok(())
    })
}

/// What a tenant may write is rejected with a reason: it is applied not even in part, and the controller goes on.
#[test]
fn a_chart_that_does_what_it_should_not_is_refused() -> Result<()> {
    e2e(Duration::from_mins(5), async |cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("charts").await?;
        let delivery = TestDelivery::create(&namespace, &gitea, &json!({})).await?;
        let first = delivery.repository.push("A chart", &chart()).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        let tidegate = Tidegate::of(&cluster);
        let before = tidegate.restarts().await?;

        let password = "{apiVersion: v1, kind: Secret, metadata: {name: more}, data: {key: {{ randAlphaNum 9 | b64enc }}}}";
        let endless = "{{ range untilStep 0 2000000000 1 }}{{ end }}";
        let schema = |of: &str| json!({ "$ref": of }).to_string();
        for (file, content, expected) in [
            (
                "templates/more.yaml",
                password.to_owned(),
                "prod/templates/more.yaml:",
            ),
            ("templates/more.yaml", endless.to_owned(), "memory"),
            (
                "values.schema.json",
                schema("file:///var/run/secrets/kubernetes.io/serviceaccount/token"),
                "permission denied",
            ),
            (
                "values.schema.json",
                schema("https://kubernetes.default.svc/openapi/v2"),
                "permission denied",
            ),
        ] {
            let path = format!("prod/{file}");
            let bad = delivery.repository.push(file, &[(&path, &content)]).await?;
            let seen = delivery.wait_state(&bad, "Rejected", LIMIT).await?;
            let entry = entry(&seen, &bad);
            println!("{}", text(&entry, "/message"));
            assert_eq!(text(&entry, "/reason"), "RenderFailed", "{entry}");
            assert!(text(&entry, "/message").contains(expected), "{entry}");
            delivery
                .repository
                .push_to("main", "Without it", &[Change::Delete(&path)])
                .await?;
            delivery.wait_condition("Ready", "True", QUICK).await?;
        }
        assert_eq!(
            tidegate.restarts().await?,
            before,
            "the controller did not go down with it"
        );
        assert!(namespace.get("secrets", "more").await?.is_none());
        Ok(())
    })
}
