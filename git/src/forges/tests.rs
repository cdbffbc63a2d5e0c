use serde_json::{Value, json};
use tidegate_gitsync::remote::Credentials;
use wiremock::matchers::{any, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

const COMMIT: &str = "1234567890123456789012345678901234567890";

/// A forge that gives recorded answers: to a method and path, one after the other, the last again and again.
/// All else is 404.
async fn forge(answers: &[(&str, &str, u16, Value)]) -> MockServer {
    let server = MockServer::start().await;
    for (index, (verb, at, status, body)) in answers.iter().enumerate() {
        let again = answers
            .iter()
            .skip(index + 1)
            .any(|other| (other.0, other.1) == (*verb, *at));
        let template = ResponseTemplate::new(*status).set_body_json(body);
        let mock = Mock::given(method(*verb)).and(path(*at)).respond_with(template);
        let mock = if again { mock.up_to_n_times(1) } else { mock };
        mock.mount(&server).await;
    }
    Mock::given(any())
        .respond_with(ResponseTemplate::new(404).set_body_json(json!({"message": "recorded nothing"})))
        .with_priority(255)
        .mount(&server)
        .await;
    server
}

async fn answer(
    server: &MockServer,
    kind: ForgeKind,
    request: ForgeRequest,
) -> Result<ForgeAnswer, RemoteError> {
    answer_with(server, kind, "", request).await
}

async fn answer_with(
    server: &MockServer,
    kind: ForgeKind,
    username: &str,
    request: ForgeRequest,
) -> Result<ForgeAnswer, RemoteError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let forge = Forge {
        kind,
        api: format!("{}/api", server.uri()),
        repository: "team/shop".to_owned(),
        credentials: Credentials::Basic {
            username: username.to_owned(),
            password: "hunter2".to_owned(),
        },
    };
    Forges::new().unwrap().answer(&forge, request).await
}

/// What was asked: method, path with query, body.
async fn asked(server: &MockServer) -> Vec<(String, Value)> {
    let requests = server.received_requests().await.unwrap();
    let line = |request: &wiremock::Request| {
        let query = request
            .url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        format!("{} {}{query}", request.method, request.url.path())
    };
    requests
        .iter()
        .map(|request| {
            (
                line(request),
                serde_json::from_slice(&request.body).unwrap_or_default(),
            )
        })
        .collect()
}

/// As [`asked`], but lines only.
async fn lines(server: &MockServer) -> Vec<String> {
    asked(server).await.into_iter().map(|(line, _)| line).collect()
}

fn commit() -> Oid {
    Oid::parse(COMMIT).unwrap()
}

fn status(state: StatusState, description: &str) -> ForgeRequest {
    ForgeRequest::Status {
        commit: commit(),
        context: "tidegate/shop/web".to_owned(),
        state,
        description: description.to_owned(),
        target_url: "https://tidegate.test/shop/web".to_owned(),
    }
}

fn pull_request() -> ForgeRequest {
    ForgeRequest::PullRequest {
        head: "tidegate/revert/web".to_owned(),
        base: "main".to_owned(),
        title: "Put web back".to_owned(),
        body: "It failed.".to_owned(),
    }
}

fn comment(body: &str) -> ForgeRequest {
    ForgeRequest::Comment {
        commit: commit(),
        marker: "tidegate shop/web".to_owned(),
        body: body.to_owned(),
    }
}

#[test]
fn words_for_states() {
    use StatusState::{Cancelled, Error, Failure, Pending, Success};
    let words =
        |word: fn(StatusState) -> &'static str| [Pending, Success, Failure, Error, Cancelled].map(word);
    assert_eq!(
        words(gitea::Gitea::word),
        ["pending", "success", "failure", "error", "warning"]
    );
    assert_eq!(
        words(github::GitHub::word),
        ["pending", "success", "failure", "error", "error"]
    );
    assert_eq!(
        words(gitlab::GitLab::word),
        ["pending", "success", "failed", "failed", "canceled"]
    );
    assert_eq!(
        words(bitbucket::Bitbucket::word),
        ["INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED", "STOPPED"]
    );
}

#[tokio::test]
async fn gitea_status_is_set_once() {
    let read = format!("/api/repos/team/shop/commits/{COMMIT}/status");
    let write = format!("/api/repos/team/shop/statuses/{COMMIT}");
    let other = json!({"id": 1, "status": "success", "context": "ci", "description": "", "target_url": ""});
    let ours = json!({
        "id": 2, "status": "failure", "context": "tidegate/shop/web", "description": "step 2",
        "target_url": "https://tidegate.test/shop/web",
    });
    let server = forge(&[
        ("GET", &read, 200, json!({"state": "pending", "statuses": null})),
        (
            "GET",
            &read,
            200,
            json!({"state": "failure", "statuses": [other, ours]}),
        ),
        ("POST", &write, 201, json!({})),
    ])
    .await;
    for _ in 0..2 {
        let done = answer(&server, ForgeKind::Gitea, status(StatusState::Failure, "step 2")).await;
        assert_eq!(done, Ok(ForgeAnswer::Done));
    }
    let body = json!({
        "context": "tidegate/shop/web", "state": "failure", "description": "step 2",
        "target_url": "https://tidegate.test/shop/web",
    });
    let look = format!("GET {read}?page=1&limit=50");
    assert_eq!(
        asked(&server).await,
        [
            (look.clone(), Value::Null),
            (format!("POST {write}"), body),
            (look.clone(), Value::Null),
        ]
    );
    // another description is another status
    let text = "x".repeat(200);
    answer(&server, ForgeKind::Gitea, status(StatusState::Failure, &text))
        .await
        .unwrap();
    let asked = asked(&server).await;
    let (_, body) = asked.last().unwrap();
    assert_eq!(body["description"], "x".repeat(140));
    let requests = server.received_requests().await.unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.headers["authorization"] == "token hunter2")
    );
}

#[tokio::test]
async fn gitea_status_on_a_later_page() {
    let read = format!("/api/repos/team/shop/commits/{COMMIT}/status");
    let other = json!({"status": "success", "context": "ci"});
    let ours = json!({
        "status": "pending", "context": "tidegate/shop/web", "description": "",
        "target_url": "https://tidegate.test/shop/web",
    });
    let server = forge(&[
        ("GET", &read, 200, json!({"statuses": [other]})),
        ("GET", &read, 200, json!({"statuses": [ours]})),
    ])
    .await;
    answer(&server, ForgeKind::Gitea, status(StatusState::Pending, ""))
        .await
        .unwrap();
    assert_eq!(
        lines(&server).await,
        [
            format!("GET {read}?page=1&limit=50"),
            format!("GET {read}?page=2&limit=50")
        ]
    );
}

#[tokio::test]
async fn gitea_pull_request_is_opened_once() {
    let look = "/api/repos/team/shop/pulls/main/tidegate/revert/web";
    let create = "/api/repos/team/shop/pulls";
    let pull = |state: &str, merged: bool| json!({"number": 7, "html_url": "https://git.test/team/shop/pulls/7", "state": state, "merged": merged});
    let server = forge(&[
        ("GET", look, 404, json!({"message": "not found"})),
        ("GET", look, 200, pull("closed", true)),
        ("GET", look, 200, pull("closed", false)),
        ("POST", create, 201, pull("open", false)),
    ])
    .await;
    for state in [
        PullRequestState::Open,
        PullRequestState::Merged,
        PullRequestState::Closed,
    ] {
        assert_eq!(
            answer(&server, ForgeKind::Gitea, pull_request()).await,
            Ok(ForgeAnswer::PullRequest {
                number: 7,
                url: "https://git.test/team/shop/pulls/7".to_owned(),
                state,
            })
        );
    }
    let body = json!({
        "head": "tidegate/revert/web", "base": "main", "title": "Put web back", "body": "It failed.",
    });
    let asked = asked(&server).await;
    assert_eq!(asked.get(1), Some(&(format!("POST {create}"), body)));
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn gitea_pull_request_that_another_opened_meanwhile() {
    let look = "/api/repos/team/shop/pulls/main/tidegate/revert/web";
    let pull = json!({"number": 7, "html_url": "https://git.test/7", "state": "open", "merged": false});
    let server = forge(&[
        ("GET", look, 404, json!({})),
        ("GET", look, 200, pull),
        (
            "POST",
            "/api/repos/team/shop/pulls",
            409,
            json!({"message": "already exists"}),
        ),
    ])
    .await;
    let answer = answer(&server, ForgeKind::Gitea, pull_request()).await.unwrap();
    assert!(
        matches!(answer, ForgeAnswer::PullRequest { number: 7, .. }),
        "{answer:?}"
    );
}

#[tokio::test]
async fn gitea_comment_is_made_edited_and_left_alone() {
    let of_commit = format!("/api/repos/team/shop/commits/{COMMIT}/pull");
    let comments = "/api/repos/team/shop/issues/7/comments";
    let edit = "/api/repos/team/shop/issues/comments/31";
    let pull = json!({"number": 7, "html_url": "https://git.test/7", "state": "closed", "merged": true});
    let human = json!({"id": 30, "body": "Nice"});
    let ours = |text: &str| json!({"id": 31, "body": format!("<!-- tidegate shop/web -->\n{text}")});
    let server = forge(&[
        ("GET", &of_commit, 200, pull),
        ("GET", comments, 200, json!([human])),
        ("GET", comments, 200, json!([human, ours("one")])),
        ("GET", comments, 200, json!([human, ours("two")])),
        ("POST", comments, 201, json!({})),
        ("PATCH", edit, 200, json!({})),
    ])
    .await;
    for text in ["one", "two", "two"] {
        assert_eq!(
            answer(&server, ForgeKind::Gitea, comment(text)).await,
            Ok(ForgeAnswer::Done)
        );
    }
    let asked = asked(&server).await;
    let written: Vec<_> = asked
        .into_iter()
        .filter(|(line, _)| !line.starts_with("GET"))
        .collect();
    assert_eq!(
        written,
        [
            (
                format!("POST {comments}"),
                json!({"body": "<!-- tidegate shop/web -->\none"})
            ),
            (
                format!("PATCH {edit}"),
                json!({"body": "<!-- tidegate shop/web -->\ntwo"})
            ),
        ]
    );
    // a commit without a pull request
    let server = forge(&[]).await;
    assert_eq!(
        answer(&server, ForgeKind::Gitea, comment("one")).await,
        Ok(ForgeAnswer::Done)
    );
}

/// All requests had this in their header `Authorization`.
async fn all_were_authorized_by(server: &MockServer, header: &str) {
    let requests = server.received_requests().await.unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.headers["authorization"] == header)
    );
}

/// What a forge was told, without the looks.
async fn written(server: &MockServer) -> Vec<(String, Value)> {
    let mut asked = asked(server).await;
    asked.retain(|(line, _)| !line.starts_with("GET"));
    asked
}

#[tokio::test]
async fn github_statuses_by_recorded_answers() {
    let read = format!("/api/repos/team/shop/commits/{COMMIT}/status");
    let write = format!("/api/repos/team/shop/statuses/{COMMIT}");
    let server = forge(&[
        (
            "GET",
            &read,
            200,
            json!({"state": "pending", "statuses": [], "total_count": 0}),
        ),
        (
            "GET",
            &read,
            200,
            json!({"state": "failure", "statuses": [{
                "state": "error", "context": "tidegate/shop/web", "description": "stopped",
                "target_url": "https://tidegate.test/shop/web",
            }]}),
        ),
        ("POST", &write, 201, json!({"id": 1})),
    ])
    .await;
    // the second one is there already
    for _ in 0..2 {
        let request = status(StatusState::Cancelled, "stopped");
        answer(&server, ForgeKind::GitHub, request).await.unwrap();
    }
    let look = format!("GET {read}?page=1&per_page=50");
    assert_eq!(
        asked(&server).await,
        [
            (look.clone(), Value::Null),
            (
                format!("POST {write}"),
                json!({
                    "context": "tidegate/shop/web", "state": "error", "description": "stopped",
                    "target_url": "https://tidegate.test/shop/web",
                })
            ),
            (look, Value::Null),
        ]
    );
    all_were_authorized_by(&server, "Bearer hunter2").await;
}

#[tokio::test]
async fn github_pull_requests_by_recorded_answers() {
    let pulls = "/api/repos/team/shop/pulls";
    let pull = |state: &str, merged: Value| json!({"number": 8, "html_url": "https://git.test/p", "state": state, "merged_at": merged});
    let server = forge(&[
        ("GET", pulls, 200, json!([])),
        (
            "GET",
            pulls,
            200,
            json!([pull("closed", json!("2026-01-01T00:00:00Z"))]),
        ),
        ("POST", pulls, 201, pull("open", Value::Null)),
    ])
    .await;
    for _ in 0..2 {
        answer(&server, ForgeKind::GitHub, pull_request()).await.unwrap();
    }
    let look = format!(
        "GET {pulls}?head=team%3Atidegate%2Frevert%2Fweb&base=main&state=all&sort=created&direction=desc&per_page=1"
    );
    assert_eq!(
        asked(&server).await,
        [
            (look.clone(), Value::Null),
            (
                format!("POST {pulls}"),
                json!({
                    "head": "tidegate/revert/web", "base": "main", "title": "Put web back", "body": "It failed.",
                })
            ),
            (look, Value::Null),
        ]
    );
    all_were_authorized_by(&server, "Bearer hunter2").await;
}

#[tokio::test]
async fn github_comments_by_recorded_answers() {
    let of_commit = format!("/api/repos/team/shop/commits/{COMMIT}/pulls");
    let comments = "/api/repos/team/shop/issues/5/comments";
    let edit = "/api/repos/team/shop/issues/comments/9";
    let pull = |number: u64, state: &str| json!({"number": number, "html_url": "https://git.test/p", "state": state, "merged_at": null});
    let server = forge(&[
        (
            "GET",
            &of_commit,
            200,
            json!([pull(4, "closed"), pull(5, "open")]),
        ),
        (
            "GET",
            comments,
            200,
            json!([{"id": 9, "body": "<!-- tidegate shop/web -->\nold"}]),
        ),
        ("PATCH", edit, 200, json!({"id": 9})),
    ])
    .await;
    answer(&server, ForgeKind::GitHub, comment("new")).await.unwrap();
    assert_eq!(
        asked(&server).await,
        [
            (format!("GET {of_commit}"), Value::Null),
            (format!("GET {comments}?page=1&per_page=50"), Value::Null),
            (
                format!("PATCH {edit}"),
                json!({"body": "<!-- tidegate shop/web -->\nnew"})
            ),
        ]
    );
    all_were_authorized_by(&server, "Bearer hunter2").await;
}

#[tokio::test]
async fn gitlab_statuses_by_recorded_answers() {
    let read = format!("/api/projects/team%2Fshop/repository/commits/{COMMIT}/statuses");
    let write = format!("/api/projects/team%2Fshop/statuses/{COMMIT}");
    let server = forge(&[
        ("GET", &read, 200, json!([])),
        (
            "GET",
            &read,
            200,
            json!([{
                "id": 2, "status": "canceled", "name": "tidegate/shop/web", "description": null,
                "target_url": "https://tidegate.test/shop/web",
            }]),
        ),
        ("POST", &write, 201, json!({"id": 2})),
        (
            "POST",
            &write,
            400,
            json!({"message": "Cannot transition status via :enqueue from :pending"}),
        ),
    ])
    .await;
    for request in [
        status(StatusState::Cancelled, ""),
        status(StatusState::Cancelled, ""),
        // what an older GitLab says to a state that it has already
        status(StatusState::Pending, "other words"),
    ] {
        answer(&server, ForgeKind::GitLab, request).await.unwrap();
    }
    let said = |state: &str, description: &str| {
        json!({
            "name": "tidegate/shop/web", "state": state, "description": description,
            "target_url": "https://tidegate.test/shop/web",
        })
    };
    assert_eq!(
        written(&server).await,
        [
            (format!("POST {write}"), said("canceled", "")),
            (format!("POST {write}"), said("pending", "other words")),
        ]
    );
    let look = format!("GET {read}?name=tidegate%2Fshop%2Fweb&order_by=id&sort=desc");
    let looks = lines(&server).await;
    assert!(looks.contains(&look), "{look}: {looks:?}");
}

#[tokio::test]
async fn gitlab_merge_requests_by_recorded_answers() {
    let of_commit = format!("/api/projects/team%2Fshop/repository/commits/{COMMIT}/merge_requests");
    let pulls = "/api/projects/team%2Fshop/merge_requests";
    let (notes, note) = (format!("{pulls}/6/notes"), format!("{pulls}/6/notes/11"));
    let pull = |state: &str| json!({"id": 600, "iid": 6, "web_url": "https://git.test/6", "state": state});
    let server = forge(&[
        ("GET", pulls, 200, json!([])),
        ("GET", pulls, 200, json!([pull("merged")])),
        ("POST", pulls, 201, pull("opened")),
        ("GET", &of_commit, 200, json!([pull("merged")])),
        (
            "GET",
            &notes,
            200,
            json!([{"id": 11, "body": "<!-- tidegate shop/web -->\nold"}]),
        ),
        ("PUT", &note, 200, json!({"id": 11})),
    ])
    .await;
    for request in [pull_request(), pull_request(), comment("new")] {
        answer(&server, ForgeKind::GitLab, request).await.unwrap();
    }
    assert_eq!(
        written(&server).await,
        [
            (
                format!("POST {pulls}"),
                json!({
                    "source_branch": "tidegate/revert/web", "target_branch": "main",
                    "title": "Put web back", "description": "It failed.",
                })
            ),
            (
                format!("PUT {note}"),
                json!({"body": "<!-- tidegate shop/web -->\nnew"})
            ),
        ]
    );
    let look = format!(
        "GET {pulls}?source_branch=tidegate%2Frevert%2Fweb&target_branch=main&state=all\
         &order_by=created_at&sort=desc&per_page=1"
    );
    let looks = lines(&server).await;
    assert!(looks.contains(&look), "{look}: {looks:?}");
}

#[tokio::test]
async fn bitbucket_statuses_by_recorded_answers() {
    let statuses = format!("/api/repositories/team/shop/commit/{COMMIT}/statuses/build");
    let read = format!("{statuses}/tidegate.shop.web");
    let server = forge(&[
        (
            "GET",
            &read,
            404,
            json!({"type": "error", "error": {"message": "no status"}}),
        ),
        (
            "GET",
            &read,
            200,
            json!({
                "key": "tidegate.shop.web", "state": "STOPPED", "description": "stopped",
                "url": "https://tidegate.test/shop/web",
            }),
        ),
        ("POST", &statuses, 201, json!({})),
    ])
    .await;
    // the second one is there already
    for _ in 0..2 {
        let request = status(StatusState::Cancelled, "stopped");
        answer(&server, ForgeKind::Bitbucket, request).await.unwrap();
    }
    assert_eq!(
        written(&server).await,
        [(
            format!("POST {statuses}"),
            json!({
                "key": "tidegate.shop.web", "name": "tidegate/shop/web", "state": "STOPPED",
                "description": "stopped", "url": "https://tidegate.test/shop/web",
            })
        )]
    );
}

#[tokio::test]
async fn bitbucket_pull_requests_by_recorded_answers() {
    let of_commit = format!("/api/repositories/team/shop/commit/{COMMIT}/pullrequests");
    let pulls = "/api/repositories/team/shop/pullrequests";
    let (comments, edit) = (format!("{pulls}/3/comments"), format!("{pulls}/3/comments/21"));
    let pull =
        |state: &str| json!({"id": 3, "state": state, "links": {"html": {"href": "https://git.test/3"}}});
    let old = "<!-- tidegate shop/web -->\nold";
    let server = forge(&[
        ("GET", pulls, 200, json!({"values": []})),
        ("GET", pulls, 200, json!({"values": [pull("DECLINED")]})),
        ("POST", pulls, 201, pull("OPEN")),
        ("GET", &of_commit, 200, json!({"values": [pull("MERGED")]})),
        (
            "GET",
            &comments,
            200,
            json!({
                "values": [{"id": 20, "deleted": true, "content": {"raw": old}}], "next": "https://git.test/2",
            }),
        ),
        ("GET", &comments, 200, json!({"values": [{"id": 21, "content": {"raw": old}}]})),
        ("PUT", &edit, 200, json!({"id": 21})),
    ])
    .await;
    for request in [pull_request(), comment("new")] {
        answer(&server, ForgeKind::Bitbucket, request).await.unwrap();
    }
    let closed = answer(&server, ForgeKind::Bitbucket, pull_request())
        .await
        .unwrap();
    assert_eq!(
        closed,
        ForgeAnswer::PullRequest {
            number: 3,
            url: "https://git.test/3".to_owned(),
            state: PullRequestState::Closed,
        }
    );
    assert_eq!(
        written(&server).await,
        [
            (
                format!("POST {pulls}"),
                json!({
                    "title": "Put web back", "description": "It failed.",
                    "source": {"branch": {"name": "tidegate/revert/web"}},
                    "destination": {"branch": {"name": "main"}},
                })
            ),
            (
                format!("PUT {edit}"),
                json!({"content": {"raw": "<!-- tidegate shop/web -->\nnew"}})
            ),
        ]
    );
}

#[tokio::test]
async fn refusals_say_what_is_needed_and_no_token() {
    let read = format!("/api/repos/team/shop/commits/{COMMIT}/status");
    for (code, kind, part) in [
        (
            401,
            "denied",
            "the token is not valid; it needs the right write:repository",
        ),
        (403, "denied", "the token needs the right write:repository"),
        (404, "not found", "it needs the right write:repository"),
        (422, "refused", "422: bad ***"),
        (302, "refused", "it redirects"),
        (202, "unavailable", "not ready"),
        (429, "unavailable", "too many requests"),
        (503, "unavailable", "not ready"),
    ] {
        let server = forge(&[("GET", &read, code, json!({"message": "bad hunter2"}))]).await;
        let error = answer(&server, ForgeKind::Gitea, status(StatusState::Pending, ""))
            .await
            .unwrap_err();
        let found = match &error {
            RemoteError::Denied(_) => "denied",
            RemoteError::NotFound(_) => "not found",
            RemoteError::Refused(_) => "refused",
            RemoteError::Unavailable(_) => "unavailable",
        };
        assert_eq!(found, kind, "{code}: {error}");
        let text = error.to_string();
        assert!(text.contains(part) && !text.contains("hunter2"), "{code}: {text}");
    }
}

#[tokio::test]
async fn a_limit_of_github_is_not_a_missing_right() {
    let read = format!("/api/repos/team/shop/commits/{COMMIT}/status");
    let server = MockServer::start().await;
    Mock::given(path(read))
        .respond_with(ResponseTemplate::new(403).insert_header("x-ratelimit-remaining", "0"))
        .mount(&server)
        .await;
    let error = answer(&server, ForgeKind::GitHub, status(StatusState::Pending, ""))
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn answers_that_are_too_large_or_nonsense() {
    for body in [vec![b' '; 5 << 20], b"<html>".to_vec()] {
        let server = MockServer::start().await;
        let large = body.len() > 100;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(200).set_body_bytes(body))
            .mount(&server)
            .await;
        let error = answer(&server, ForgeKind::Gitea, status(StatusState::Pending, ""))
            .await
            .unwrap_err();
        assert_eq!(matches!(error, RemoteError::Refused(_)), large, "{error:?}");
        assert_eq!(matches!(error, RemoteError::Unavailable(_)), !large, "{error:?}");
    }
}

#[tokio::test]
async fn a_user_name_means_basic_authentication() {
    let server = forge(&[]).await;
    let request = status(StatusState::Pending, "");
    let error = answer_with(&server, ForgeKind::Gitea, "robot", request)
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::NotFound(_)), "{error:?}");
    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        requests.first().unwrap().headers["authorization"],
        "Basic cm9ib3Q6aHVudGVyMg=="
    );
}

#[tokio::test]
async fn gitlab_gets_the_token_alone_whatever_the_name_beside_it() {
    let server = forge(&[]).await;
    let request = status(StatusState::Pending, "");
    answer_with(&server, ForgeKind::GitLab, "robot", request)
        .await
        .unwrap_err();
    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        requests.first().unwrap().headers["authorization"],
        "Bearer hunter2"
    );
}

#[tokio::test]
async fn forges_that_are_not_asked() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let forges = Forges::new().unwrap();
    let good = Forge {
        kind: ForgeKind::Gitea,
        api: "https://git.test/api/v1".to_owned(),
        repository: "team/shop".to_owned(),
        credentials: Credentials::None,
    };
    let with_api = |api: &str| Forge {
        api: api.to_owned(),
        ..good.clone()
    };
    let with_repository = |repository: &str| Forge {
        repository: repository.to_owned(),
        ..good.clone()
    };
    for forge in [
        with_api("git.test"),
        with_api("file:///etc"),
        with_api("https://user:hunter2@git.test"),
        with_api("https://git.test/?hunter2"),
        with_repository("shop"),
        with_repository("team/../admin"),
        with_repository("/shop"),
        Forge {
            credentials: Credentials::Ssh {
                key: "hunter2".to_owned(),
                known_hosts: String::new(),
            },
            ..good.clone()
        },
        Forge {
            credentials: Credentials::Basic {
                username: String::new(),
                password: "hunter2\r\nX: y".to_owned(),
            },
            ..good.clone()
        },
    ] {
        let error = forges
            .answer(&forge, status(StatusState::Pending, ""))
            .await
            .unwrap_err();
        assert!(matches!(error, RemoteError::Refused(_)), "{error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
