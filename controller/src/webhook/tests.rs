//! Against the listener, by sockets of this machine.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const BODY: &str = r#"{"ref":"refs/heads/main","after":"bffeb74224043ba2feb48d137756c8a9331c449a"}"#;
/// Of that body, with the secret `3gEsCfjlV2ugRwgp`.
const SIGNATURE: &str = "sha256=1332c440c253174d789fd63bb5f5e20251f348a77ea5af60b6e2158224e05a92";

/// Delivery `shop/web` has a Secret with a token, `shop/odd` one that is not there, `shop/lost` one that cannot be read,
/// `shop/bare` has none.
#[derive(Default)]
struct House {
    follows: AtomicBool,
    reads: AtomicUsize,
    pushed: Mutex<Vec<String>>,
}

impl Door for House {
    fn closed(&self) -> Option<&'static str> {
        self.follows
            .load(Ordering::SeqCst)
            .then_some("this replica does not lead")
    }

    fn secret_of(&self, delivery: &ObjectKey) -> Option<String> {
        let known = delivery.namespace == "shop" && ["web", "odd", "lost"].contains(&delivery.name.as_str());
        known.then(|| format!("{}-hook", delivery.name))
    }

    fn token<'a>(&'a self, _: &'a str, secret: &'a str) -> BoxFuture<'a, Result<Option<String>, Failure>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match secret {
                "web-hook" => Ok(Some("3gEsCfjlV2ugRwgp".to_owned())),
                "lost-hook" => Err(Failure::new(403, "Forbidden", "no")),
                _ => Ok(None),
            }
        })
    }

    fn pushed(&self, delivery: &ObjectKey) {
        self.pushed.lock().unwrap().push(delivery.to_string());
    }
}

/// A listener on a free port, which ends with this value.
struct Running {
    house: Arc<House>,
    address: std::net::SocketAddr,
    _server: JoinSet<()>,
}

async fn running() -> Running {
    let house = Arc::new(House::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(serve(listener, Arc::clone(&house) as Arc<dyn Door>));
    Running {
        house,
        address,
        _server: server,
    }
}

impl Running {
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The status of the answer to a POST.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let lines = headers.iter().fold(String::new(), |lines, (name, value)| {
            format!("{lines}{name}: {value}\r\n")
        });
        let length = body.len();
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n{lines}\r\n{body}");
        status(&self.send(&request).await)
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

const PUSH: [(&str, &str); 2] = [("X-GitHub-Event", "push"), ("X-Hub-Signature-256", SIGNATURE)];

#[tokio::test]
async fn a_push_makes_the_repository_be_asked() {
    let running = running().await;
    assert_eq!(running.post("/hook/shop/web", &PUSH, BODY).await, 202);
    let ping = [("X-GitHub-Event", "ping"), ("X-Hub-Signature-256", SIGNATURE)];
    assert_eq!(running.post("/hook/shop/web", &ping, BODY).await, 200);
    let other = [("X-GitHub-Event", "issues"), ("X-Hub-Signature-256", SIGNATURE)];
    assert_eq!(running.post("/hook/shop/web", &other, BODY).await, 200);
    assert_eq!(*running.house.pushed.lock().unwrap(), ["shop/web"]);
    assert_eq!(
        running.house.reads.load(Ordering::SeqCst),
        1,
        "a Secret is remembered"
    );
}

#[tokio::test]
async fn what_is_not_signed_changes_nothing() {
    let running = running().await;
    let wrong = [("X-GitHub-Event", "push"), ("X-Hub-Signature-256", "sha256=00")];
    assert_eq!(running.post("/hook/shop/web", &wrong, BODY).await, 401);
    assert_eq!(
        running
            .post("/hook/shop/web", &[("X-GitHub-Event", "push")], BODY)
            .await,
        401
    );
    assert_eq!(running.post("/hook/shop/web", &PUSH, "{}").await, 401);
    assert_eq!(running.post("/hook/shop/lost", &PUSH, BODY).await, 503);
    assert_eq!(
        status(
            &running
                .send("GET /hook/shop/web HTTP/1.1\r\nHost: t\r\n\r\n")
                .await
        ),
        405
    );
    assert_eq!(running.post("/metrics", &PUSH, BODY).await, 404);
    assert!(running.house.pushed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nobody_learns_which_deliveries_there_are() {
    let running = running().await;
    let mut answers = Vec::new();
    for name in ["unknown", "bare", "odd"] {
        let request = format!("POST /hook/shop/{name} HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
        let answer = running.send(&request).await;
        // all but the time of day
        answers.push(
            answer
                .lines()
                .filter(|line| !line.starts_with("date:"))
                .collect::<String>(),
        );
    }
    assert_eq!(status(&answers[0]), 404);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn a_replica_that_does_not_lead_takes_none() {
    let running = running().await;
    running.house.follows.store(true, Ordering::SeqCst);
    assert_eq!(running.post("/hook/shop/web", &PUSH, BODY).await, 503);
    assert!(running.house.pushed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_webhook_has_a_largest_size() {
    let running = running().await;
    let exactly = "x".repeat(MAX_BODY);
    assert_eq!(running.post("/hook/shop/web", &PUSH, &exactly).await, 401);
    let headers = format!(
        "POST /hook/shop/web HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
        MAX_BODY + 1
    );
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(headers.as_bytes()).await.unwrap();
    // the server may answer and hang up before all of it is sent
    _ = stream.write_all("x".repeat(MAX_BODY + 1).as_bytes()).await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[test]
fn so_many_a_second() {
    let start = Instant::now();
    let mut rate = Rate::new(start);
    let key = |name: &str| ObjectKey::new("shop", name);
    let admitted = (0..10).filter(|_| rate.admits(&key("web"), start)).count();
    assert_eq!(admitted, MAX_RATE as usize);
    assert!(rate.admits(&key("api"), start), "each Delivery for itself");
    let next = start + Duration::from_secs(1);
    assert!(rate.admits(&key("web"), next));
    for name in 1..MAX_NAMES {
        assert!(rate.admits(&key(&name.to_string()), next));
    }
    assert!(
        !rate.admits(&key("one more"), next),
        "names are not remembered without limit"
    );
    assert!(rate.admits(&key("web"), next));
}

#[tokio::test]
async fn too_many_are_told_so() {
    let running = running().await;
    let mut answers = Vec::new();
    // at least one second is over at most once between them
    for _ in 0..=2 * MAX_RATE {
        answers.push(running.post("/hook/shop/web", &PUSH, BODY).await);
    }
    assert!(answers.contains(&429), "{answers:?}");
}
