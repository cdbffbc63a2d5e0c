//! The test bed itself: what the other tests rely on is so.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tidegate_e2e::{Cluster, Namespace, Report, e2e, eventually};

/// A Deployment, a Service and an Ingress of one version of the demo app.
fn version(host: &str, version: &str, annotations: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {version}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: demo, version: {version}}}}}
  template:
    metadata:
      labels: {{app: demo, version: {version}}}
      annotations: {{prometheus.io/scrape: "true", prometheus.io/port: "8080"}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
        - name: demo
          image: tidegate/demo-app:dev
          args: [app]
          env: [{{name: VERSION, value: {version}}}]
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {version}}}
spec:
  selector: {{app: demo, version: {version}}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {version}
  annotations: {{{annotations}}}
spec:
  ingressClassName: nginx
  rules:
    - host: {host}
      http:
        paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {version}, port: {{number: 80}}}}}}}}]
"#
    )
}

/// Two tests on one host would share its traffic.
fn host(namespace: &Namespace) -> String {
    format!("{}.test", namespace.name())
}

async fn two_versions(cluster: &Cluster, weight: u8) -> Result<Namespace> {
    let namespace = cluster.namespace("box").await?;
    let host = host(&namespace);
    namespace.apply(&version(&host, "v1", "")).await?;
    let canary = format!(
        "nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-weight: '{weight}'"
    );
    namespace.apply(&version(&host, "v2", &canary)).await?;
    for name in ["v1", "v2"] {
        namespace
            .wait_for_deployment(name, Duration::from_mins(1))
            .await?;
    }
    Ok(namespace)
}

#[track_caller]
fn assert_share(report: &Report, version: &str, percent: f64) {
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(report.sent > 300, "{report:?}");
    assert!((report.share(version) - percent).abs() <= 1.5, "{report:?}");
}

#[test]
fn a_canary_gets_its_share_and_its_metrics_show_it() -> Result<()> {
    e2e(Duration::from_mins(2), async |cluster| {
        let namespace = two_versions(&cluster, 20).await?;
        let load = namespace.load(&host(&namespace), 200).await?;
        // the router has seen both versions
        eventually(
            "answers of v2 only as v1 has them",
            Duration::from_secs(20),
            async || {
                let report = load.window(Duration::from_millis(500)).await?;
                Ok((report.failed() == 0 && report.answers_of("v2") > 0).then_some(()))
            },
        )
        .await?;
        assert_share(&load.window(Duration::from_secs(4)).await?, "v2", 20.0);

        // by the app's own metrics
        let query = format!(
            r#"sum by (version) (rate(http_requests_total{{namespace="{}"}}[4s]))"#,
            namespace.name()
        );
        let near = |value: f64, expected: f64, by: f64| (value - expected).abs() < by;
        // pods that are new to it are seen a little later
        eventually(
            "160 and 40 requests a second",
            Duration::from_secs(30),
            async || {
                let rates = cluster.query(&query).await?;
                let rate = |version: &str| {
                    let sample = rates
                        .iter()
                        .find(|sample| sample.labels.get("version").is_some_and(|label| label == version));
                    sample.map_or(0.0, |sample| sample.value)
                };
                let so = near(rate("v1"), 160.0, 25.0) && near(rate("v2"), 40.0, 10.0);
                anyhow::ensure!(so, "{rates:?}");
                Ok(Some(()))
            },
        )
        .await?;
        // and by the router's
        let query = format!(
            r#"sum(rate(traefik_service_requests_total{{service="{}-v1-v1-80-canary@kubernetesingressnginx"}}[4s]))"#,
            namespace.name()
        );
        eventually("40 requests a second", Duration::from_secs(30), async || {
            let router = cluster.query(&query).await?;
            let so = router
                .first()
                .is_some_and(|sample| near(sample.value, 40.0, 10.0));
            anyhow::ensure!(so, "{router:?}");
            Ok(Some(()))
        })
        .await?;

        // a change of the weight, and none of the requests around it fails
        for weight in ["60", "0", "100"] {
            let annotation =
                json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": weight}}});
            namespace
                .patch("ingresses.networking.k8s.io", "v2", &annotation)
                .await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(load.reset().await?.failed(), 0);
            assert_share(&load.window(Duration::from_secs(2)).await?, "v2", weight.parse()?);
        }
        Ok(())
    })
}

#[test]
fn pods_that_go_drop_no_request_and_failures_are_seen() -> Result<()> {
    e2e(Duration::from_mins(2), async |cluster| {
        let namespace = two_versions(&cluster, 50).await?;
        let load = namespace.load(&host(&namespace), 200).await?;
        eventually("answers without failures", Duration::from_secs(20), async || {
            Ok((load.window(Duration::from_millis(500)).await?.failed() == 0).then_some(()))
        })
        .await?;
        load.reset().await?;
        let restart = json!({"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}});
        namespace.patch("deployments.apps", "v1", &restart).await?;
        namespace
            .wait_for_deployment("v1", Duration::from_mins(1))
            .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let report = load.reset().await?;
        assert_eq!(report.failed(), 0, "{report:?}");

        namespace
            .behave("version=v2", "error_rate=0.5&latency_ms=20")
            .await?;
        let report = load.window(Duration::from_secs(3)).await?;
        let failed = report.failed() as f64 * 100.0 / report.sent as f64;
        assert!(
            (failed - 25.0).abs() < 2.0 && report.slowest_ms >= 20,
            "{report:?}"
        );
        Ok(())
    })
}

#[test]
fn requests_of_a_service_account_are_counted() -> Result<()> {
    e2e(Duration::from_mins(1), async |cluster| {
        let Some(log) = cluster.audit_log()? else {
            return Ok(());
        };
        let namespace = cluster.namespace("audit").await?;
        let token = namespace_token(&namespace).await?;
        let client = as_user(&token).await?;
        let request = http::Request::get(format!("/api/v1/namespaces/{}/configmaps", namespace.name()));
        let refused = client.request_text(request.body(Vec::new())?).await.unwrap_err();
        assert!(refused.to_string().contains("forbidden"), "{refused}");
        let requests = log.requests_of(&format!("system:serviceaccount:{}:default", namespace.name()))?;
        let [request] = requests.as_slice() else {
            anyhow::bail!("{requests:?}")
        };
        assert!(
            request.denied && !request.is_write() && request.resource == "configmaps",
            "{request:?}"
        );
        Ok(())
    })
}

async fn namespace_token(namespace: &Namespace) -> Result<String> {
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/default/token",
        namespace.name()
    );
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&body)?)?;
    let answer: serde_json::Value = namespace.cluster().client().request(request).await?;
    Ok(answer["status"]["token"].as_str().unwrap_or_default().to_owned())
}

async fn as_user(token: &str) -> Result<kube::Client> {
    let mut config = kube::Config::from_kubeconfig(&kube::config::KubeConfigOptions::default()).await?;
    // the secret type is not re-exported, but parses from JSON like in a kubeconfig
    config.auth_info = serde_json::from_value(json!({"token": token}))?;
    Ok(kube::Client::try_from(config)?)
}
