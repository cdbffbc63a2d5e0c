//! The forge that the tests of Git sync rely on, and what the controller's image brings to talk to it.

use std::{collections::BTreeMap, future::IntoFuture as _, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use axum::{Router, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tidegate_e2e::{
    Change, Cluster, Comment, Gitea, Logged, Namespace, Repository, Status, TestDelivery, e2e, eventually,
    text,
};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, timeout},
};

const LIMIT: Duration = Duration::from_mins(1);

/// Runs a shell script in a pod that is the installed controller's but for what it runs: the same image, user, rights and folders.
/// Returns whether it succeeded, and what it printed.
async fn in_the_controllers_pod(
    namespace: &Namespace,
    name: &str,
    script: &str,
    environment: &BTreeMap<&str, &str>,
) -> Result<(bool, String)> {
    let cluster = namespace.cluster();
    let installed = cluster.api("deployments.apps", Some("argo-rollouts")).await?;
    let installed = installed.get("tidegate").await?;
    let mut spec = installed
        .data
        .pointer("/spec/template/spec")
        .context("the installed controller has no pod")?
        .clone();
    // its rights in the cluster are not needed, and not there
    for field in ["serviceAccountName", "serviceAccount"] {
        spec[field] = Value::Null;
    }
    spec["automountServiceAccountToken"] = json!(false);
    spec["restartPolicy"] = json!("Never");
    let container = &mut spec["containers"][0];
    for field in ["ports", "livenessProbe", "readinessProbe", "args"] {
        container[field] = Value::Null;
    }
    container["command"] = json!(["sh", "-euc", script]);
    container["env"] = environment
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    namespace.apply(&pod.to_string()).await?;
    let ended = |pod: &Value| ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
    let pod = namespace
        .wait("pods", name, "the script has ended", LIMIT, ended)
        .await?;
    let path = format!("/api/v1/namespaces/{}/pods/{name}/log", namespace.name());
    let request = axum::http::Request::get(path).body(Vec::new())?;
    let printed = cluster.client().request_text(request).await?;
    Ok((text(&pod, "/status/phase") == "Succeeded", printed))
}

async fn must_print(
    namespace: &Namespace,
    name: &str,
    script: &str,
    environment: &BTreeMap<&str, &str>,
) -> Result<String> {
    let (succeeded, printed) = in_the_controllers_pod(namespace, name, script, environment).await?;
    ensure!(succeeded, "{name} failed:\n{printed}");
    Ok(printed)
}

#[test]
fn the_controllers_image_reads_and_writes_repositories() -> Result<()> {
    e2e(Duration::from_mins(4), async |cluster: Cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("forge").await?;
        let repository = gitea.create_repository("demo").await?;
        let commit = repository.push("First", &[("app/a.yaml", "a: 1\n")]).await?;
        let address = BTreeMap::from([("URL", repository.url())]);

        let http = "git ls-remote $URL refs/heads/main
            git clone --quiet --bare $URL /var/cache/tidegate/demo
            git -C /var/cache/tidegate/demo show main:app/a.yaml";
        assert_eq!(
            must_print(&namespace, "http", http, &address).await?,
            format!("{commit}\trefs/heads/main\na: 1\n")
        );

        repository.make_private().await?;
        let ask = "export GIT_TERMINAL_PROMPT=0; git ls-remote $URL refs/heads/main";
        let (succeeded, printed) = in_the_controllers_pod(&namespace, "nobody", ask, &address).await?;
        assert!(
            !succeeded && printed.contains("could not read Username"),
            "{printed}"
        );
        let header = format!("Authorization: token {}", gitea.token());
        let robot = BTreeMap::from([
            ("URL", repository.url()),
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "http.extraHeader"),
            ("GIT_CONFIG_VALUE_0", &header),
        ]);
        let line = format!("{commit}\trefs/heads/main\n");
        assert_eq!(must_print(&namespace, "robot", ask, &robot).await?, line);

        let key = repository.add_deploy_key("controller", true).await?;
        let hosts = gitea.known_hosts()?;
        let ssh = "umask 077
            printf '%s' \"$KEY\" > /tmp/key
            printf '%s' \"$HOSTS\" > /tmp/hosts
            options='-F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes'
            export GIT_SSH_COMMAND=\"ssh -i /tmp/key -o UserKnownHostsFile=/tmp/hosts $options\"
            git ls-remote $URL refs/heads/main
            git clone --quiet --bare $URL /var/cache/tidegate/demo
            git -C /var/cache/tidegate/demo push --quiet $URL main:refs/heads/copy";
        let mut known = BTreeMap::from([
            ("URL", repository.ssh_url()),
            ("KEY", key.as_str()),
            ("HOSTS", hosts.as_str()),
        ]);
        // what the forge says to a push comes after it
        let printed = must_print(&namespace, "ssh", ssh, &known).await?;
        assert!(printed.starts_with(&line), "{printed}");
        assert_eq!(repository.head("copy").await?, commit);

        known.insert("HOSTS", "");
        let (succeeded, printed) = in_the_controllers_pod(&namespace, "stranger", ssh, &known).await?;
        assert!(
            !succeeded && printed.contains("Host key verification failed"),
            "{printed}"
        );
        Ok(())
    })
}

fn config(version: &str) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "told" }, "data": { "version": version },
    });
    config.to_string()
}

/// Where the controller hears of pushes.
async fn webhooks(cluster: &Cluster) -> Result<String> {
    let service = cluster.api("services", Some("argo-rollouts")).await?;
    let service = service.get("tidegate-webhook").await?;
    let address = service.data.pointer("/spec/clusterIP").and_then(Value::as_str);
    Ok(format!("http://{}", address.context("no address")?))
}

/// An interval of minutes is no wait where the forge tells of pushes; a key is enough to read a private repository.
#[test]
fn a_push_is_applied_at_once_over_ssh() -> Result<()> {
    e2e(Duration::from_mins(3), async |cluster: Cluster| {
        let Some(gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let namespace = cluster.namespace("told").await?;
        let repository = gitea.create_repository("told").await?;
        repository.make_private().await?;
        let secrets = [
            (
                "ssh",
                json!({
                    "identity": repository.add_deploy_key("read", false).await?, "known_hosts": gitea.known_hosts()?,
                }),
            ),
            ("hook", json!({ "token": "a secret" })),
        ];
        for (name, data) in secrets {
            let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
            namespace.apply(&secret.to_string()).await?;
        }
        let first = repository
            .push("First", &[("prod/told.yaml", &config("1"))])
            .await?;
        let spec = json!({
            "source": { "git": {
                "url": repository.ssh_url(), "path": "prod",
                "secretRef": { "name": "ssh" }, "webhookSecretRef": { "name": "hook" },
            } },
            "interval": "10m",
            "feedback": { "forge": { "type": "Gitea", "api": gitea.api() }, "secretRef": { "name": "deploy" } },
        });
        let delivery = TestDelivery::of(&namespace, &gitea, repository.clone(), &spec).await?;
        delivery.wait_state(&first, "Deployed", LIMIT).await?;
        delivery.wait_status(&first, "success", LIMIT).await?;

        let url = format!("{}/hook/{}/shop", webhooks(&cluster).await?, namespace.name());
        repository.add_webhook(&url, "another secret").await?;
        // the forge takes its time; it tells this one as well, last
        let (ours, mut told) = listener().await?;
        repository.add_webhook(&ours, "ours").await?;
        let second = repository
            .push("Second", &[("prod/told.yaml", &config("2"))])
            .await?;
        told_of(&mut told, &second).await?;
        // nothing happens, however long one waits: this is many times what it takes below
        tokio::time::sleep(Duration::from_secs(3)).await;
        let seen = delivery.get().await?;
        assert!(!seen.to_string().contains(&second), "{seen}");

        repository.add_webhook(&url, "a secret").await?;
        let third = repository
            .push("Third", &[("prod/told.yaml", &config("3"))])
            .await?;
        let pushed = Instant::now();
        told_of(&mut told, &third).await?;
        let said = Instant::now();
        let what = "the push is applied";
        namespace
            .wait("configmaps", "told", what, Duration::from_secs(5), |config| {
                text(config, "/data/version") == "3"
            })
            .await?;
        let slow = said - pushed;
        println!(
            "applied {:?} after the forge told of it, which took {slow:?}",
            said.elapsed()
        );
        delivery.wait_state(&third, "Deployed", LIMIT).await?;
        Ok(())
    })
}

/// A commit keeps the statuses that a robot gives it; another one has none.
async fn statuses_are_kept(people: &Repository, commit: &str, another: &str) -> Result<()> {
    let robot = people.as_robot();
    let status = |state: &str| Status {
        context: "tidegate/demo/web".to_owned(),
        state: state.to_owned(),
        description: format!("it is {state}"),
        target_url: String::new(),
    };
    for state in ["pending", "success"] {
        robot.set_status(commit, &status(state)).await?;
    }
    assert_eq!(
        people.statuses(commit).await?,
        [status("pending"), status("success")]
    );
    assert!(people.statuses(another).await?.is_empty());
    Ok(())
}

/// Pull requests of a robot are merged and closed, on a branch that only the developer may push to.
async fn pull_requests_end(people: &Repository, name_of_robot: &str, third: &str) -> Result<()> {
    let robot = people.as_robot();
    people.protect("main").await?;
    let pushed = robot.push("No", &[("a.yaml", "a: 0\n")]).await;
    let refused = pushed.err().context("a robot pushed to a protected branch")?;
    assert!(refused.to_string().contains("403"), "{refused:#}");
    let number = robot.open_pull_request("change", "The third").await?;
    robot.comment(number, "Please").await?;
    let comments = people.comments(number).await?;
    assert_eq!(
        comments,
        [Comment {
            id: comments[0].id,
            user: name_of_robot.to_owned(),
            body: "Please".to_owned(),
        }]
    );
    people.merge(number).await?;
    let other = robot
        .push_to("other", "Fourth", &[Change::Delete("d.yaml")])
        .await?;
    let unwanted = robot.open_pull_request("other", "The fourth").await?;
    people.close(unwanted).await?;
    let requests = people.pull_requests().await?;
    let states: Vec<_> = requests
        .iter()
        .map(|request| {
            let (head, base) = (&request.head, &request.base);
            (
                request.number,
                &*request.state,
                request.merged,
                &*head.commit,
                &*base.name,
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            (number, "closed", true, third, "main"),
            (unwanted, "closed", false, &*other, "main"),
        ]
    );
    Ok(())
}

/// Webhooks tell of pushes, also after the forge was down.
async fn pushes_are_told_of(people: &Repository, gitea: &mut Gitea) -> Result<()> {
    let merged = people.head("main").await?;
    let (url, mut told) = listener().await?;
    people.add_webhook(&url, "a secret").await?;
    gitea.stop()?;
    assert!(people.head("main").await.is_err());
    gitea.start_again().await?;
    assert_eq!(people.head("main").await?, merged);
    let fifth = people.push("Fifth", &[("a.yaml", "a: 3\n")]).await?;
    let (headers, push) = told_of(&mut told, &fifth).await?;
    assert_eq!(headers.get("x-gitea-event").context("no event")?, "push");
    let signature = headers.get("x-gitea-signature").context("no signature")?;
    assert_eq!(signature.len(), 64, "{signature:?}");
    assert_eq!(text(&push, "/ref"), "refs/heads/main");
    Ok(())
}

#[test]
fn the_forge_does_what_people_and_robots_do() -> Result<()> {
    e2e(Duration::from_mins(2), async |cluster: Cluster| {
        let Some(mut gitea) = Gitea::start(&cluster).await? else {
            return Ok(());
        };
        let people = gitea.create_repository("demo").await?;
        let robot = people.as_robot();
        assert_eq!(people.full_name(), "developer/demo");

        // commits
        let first = people
            .push(
                "First\n\nWhy: because",
                &[("a.yaml", "a: 1\n"), ("b/c.yaml", "c: 1\n")],
            )
            .await?;
        let second = robot.push("Second", &[("a.yaml", "a: 2\n")]).await?;
        let changes = [Change::Delete("b/c.yaml"), Change::Write("d.yaml", "d: 1\n")];
        let third = people.push_to("change", "Third", &changes).await?;
        let logged = |commit: &str, message: &str, author: &str| Logged {
            commit: commit.to_owned(),
            message: format!("{message}\n"),
            author: author.to_owned(),
        };
        assert_eq!(
            people.log("change").await?,
            [
                logged(&third, "Third", "developer"),
                logged(&second, "Second", "robot"),
                logged(&first, "First\n\nWhy: because", "developer"),
            ]
        );
        assert_eq!(people.head("main").await?, second);
        assert_eq!(people.file("change", "b/c.yaml").await?, None);
        assert_eq!(people.file("main", "b/c.yaml").await?.as_deref(), Some("c: 1\n"));
        assert_eq!(people.file("main", "a.yaml").await?.as_deref(), Some("a: 2\n"));

        statuses_are_kept(&people, &second, &first).await?;
        pull_requests_end(&people, gitea.robot(), &third).await?;
        assert_eq!(people.log("main").await?.len(), 4);

        pushes_are_told_of(&people, &mut gitea).await?;

        // history that was rewritten
        people.reset("change", &first).await?;
        eventually("the earlier commit", LIMIT, async || {
            Ok((people.head("change").await? == first).then_some(()))
        })
        .await
    })
}

/// Waits until the forge tells of a commit: its headers and the push.
///
/// A forge tells of a push when it comes to it. So what was pushed before, to whichever branch, may come first, also to a webhook that
/// was added after that push.
async fn told_of(
    told: &mut UnboundedReceiver<(HeaderMap, String)>,
    commit: &str,
) -> Result<(HeaderMap, Value)> {
    loop {
        let (headers, body) = timeout(LIMIT, told.recv())
            .await
            .with_context(|| format!("nothing was told of {commit}"))?
            .context("nobody listens")?;
        let push: Value = serde_json::from_str(&body)?;
        if text(&push, "/after") == commit {
            return Ok((headers, push));
        }
    }
}

/// Listens for webhooks: its address, and what is sent there.
async fn listener() -> Result<(String, UnboundedReceiver<(HeaderMap, String)>)> {
    let (sender, told) = unbounded_channel();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let answer = async move |headers: HeaderMap, body: String| {
        // a test that has ended does not listen any more
        sender.send((headers, body)).ok();
    };
    tokio::spawn(axum::serve(listener, Router::new().route("/hook", post(answer))).into_future());
    Ok((url, told))
}
