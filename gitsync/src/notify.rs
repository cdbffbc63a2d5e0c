//! What chats are told of verdicts (contract 5.4): the words, and the request that each kind of chat takes.
//!
//! Texts hold what commits say, so nothing of them may be markup: a subject must not call a whole group. Addresses hold the
//! right to post, so they are never printed.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_crds::{DeliveryFeedback, DeliveryNotify, NotifyOn, NotifyType};

use crate::base64;
use crate::digest::hex;
use crate::mac;
use crate::spec::{InvalidSpec, invalid};

/// Most chats of one Delivery.
pub const MAX_CHATS: usize = 5;
/// Keys of failures in `Observed::retry_at`: one for each chat, so that a broken one keeps nobody else waiting.
pub const RETRY: [&str; MAX_CHATS] = ["chat 1", "chat 2", "chat 3", "chat 4", "chat 5"];
/// Most bytes of a text: WeCom takes 2048.
const MAX_TEXT: usize = 2000;
/// Longest address.
const MAX_ADDRESS: usize = 2048;

/// The software behind an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatKind {
    /// DingTalk.
    DingTalk,
    /// Feishu and Lark.
    Feishu,
    /// WeCom.
    WeCom,
    /// Slack.
    Slack,
    /// Anything that takes JSON.
    Webhook,
}

/// Something that is worth a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A commit was rejected.
    Rejected,
    /// A good commit became unhealthy.
    Regressed,
    /// A rejected commit was taken back in Git, or is about to be.
    TakenBack,
    /// A commit is good after one that was not.
    Recovered,
    /// A commit is good.
    Good,
}

/// A chat that a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// Its software.
    pub kind: ChatKind,
    /// The Secret that holds its address.
    pub secret: String,
    on: Vec<NotifyOn>,
}

impl Chat {
    /// Its name, for records and people: `Slack/SECRET`.
    pub fn name(&self) -> String {
        format!("{:?}/{}", self.kind, self.secret)
    }

    /// Whether it is told such news.
    pub(crate) fn wants(&self, news: News) -> bool {
        let has = |on: &NotifyOn| self.on.contains(on);
        match news {
            News::Rejected | News::Regressed => has(&NotifyOn::Rejected),
            News::TakenBack => has(&NotifyOn::TakenBack),
            News::Recovered => has(&NotifyOn::Recovered) || has(&NotifyOn::Good),
            News::Good => has(&NotifyOn::Good),
        }
    }
}

/// Reads the chats of a spec.
pub(crate) fn chats(feedback: &DeliveryFeedback) -> Result<Vec<Chat>, InvalidSpec> {
    if feedback.notify.len() > MAX_CHATS {
        let message = format!("has {}: keep {MAX_CHATS} at most", feedback.notify.len());
        return Err(invalid("spec.feedback.notify", message));
    }
    feedback.notify.iter().map(chat).collect()
}

fn chat(notify: &DeliveryNotify) -> Result<Chat, InvalidSpec> {
    let kind = match &notify.kind {
        NotifyType::DingTalk => ChatKind::DingTalk,
        NotifyType::Feishu => ChatKind::Feishu,
        NotifyType::WeCom => ChatKind::WeCom,
        NotifyType::Slack => ChatKind::Slack,
        NotifyType::Webhook => ChatKind::Webhook,
        kind @ (NotifyType::Other(_) | NotifyType::Unset) => {
            let message = format!(
                "\"{kind}\" is not known: use DingTalk, Feishu (also for Lark), WeCom, Slack or Webhook"
            );
            return Err(invalid("spec.feedback.notify.type", message));
        }
    };
    if notify.secret_ref.name.is_empty() {
        let message = "is needed: the name of a Secret with the key address";
        return Err(invalid("spec.feedback.notify.secretRef.name", message));
    }
    let odd = |on: &&NotifyOn| matches!(on, NotifyOn::Other(_) | NotifyOn::Unset);
    if let Some(on) = notify.on.iter().find(odd) {
        let message = format!("\"{on}\" is not known: use Rejected, TakenBack, Recovered or Good");
        return Err(invalid("spec.feedback.notify.on", message));
    }
    let mut on = notify.on.clone();
    if on.is_empty() {
        on = vec![NotifyOn::Rejected, NotifyOn::TakenBack, NotifyOn::Recovered];
    }
    Ok(Chat {
        kind,
        secret: notify.secret_ref.name.clone(),
        on,
    })
}

/// What happened to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What happened.
    pub news: News,
    /// Namespace and name of the Delivery.
    pub delivery: (String, String),
    /// The commit, in full.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
    /// Its author.
    pub author: String,
    /// Why, in a sentence or two: the evidence, and what the cluster is held at.
    pub message: String,
    /// Where to read more; empty if there is nothing.
    pub link: String,
    /// Since when it is so.
    pub since: Timestamp,
}

impl Note {
    /// The same for the same news, so that somebody who gets it twice can tell.
    fn id(&self) -> String {
        let (namespace, name) = &self.delivery;
        format!("{namespace}/{name} {} {:?}", self.commit, self.news)
    }

    /// One line. Has the product's name in it: DingTalk and Feishu can be set to take only messages with a certain word.
    fn title(&self) -> String {
        let (namespace, name) = &self.delivery;
        let commit = self.commit.get(..8).unwrap_or(&self.commit);
        let what = match self.news {
            News::Rejected => "was rejected",
            News::Regressed => "was good and is unhealthy now",
            News::TakenBack => "was rejected and is taken back",
            News::Recovered => "is good, and the one before it was not",
            News::Good => "is good",
        };
        format!("Tidegate {namespace}/{name}: commit {commit} {what}")
    }

    /// What follows the title, without the link.
    fn lines(&self) -> Vec<String> {
        let by = match self.author.as_str() {
            "" => String::new(),
            author => format!(" ({author})"),
        };
        let about = format!("{}{by}", self.subject);
        let lines = [about, self.message.clone()];
        lines.into_iter().filter(|line| !line.trim().is_empty()).collect()
    }

    /// All of it as text; the link is never cut.
    fn text(&self) -> String {
        let mut text = self.title();
        for line in self.lines() {
            text = format!("{text}\n{line}");
        }
        if self.link.is_empty() {
            return cut(&text, MAX_TEXT).to_owned();
        }
        let room = MAX_TEXT.saturating_sub(self.link.len() + 1);
        format!("{}\n{}", cut(&text, room), self.link)
    }
}

/// What a Secret holds for a chat. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The address that is posted to.
    pub address: String,
    /// What messages are signed with.
    pub secret: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Takes an address and a secret, both without white space around them.
    ///
    /// # Errors
    /// Says what an address looks like, not what this one is.
    pub fn new(address: &str, secret: Option<&str>) -> Result<Self, String> {
        let address = address.trim();
        let web = address.starts_with("https://") || address.starts_with("http://");
        if !web || address.len() > MAX_ADDRESS || address.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err("the key address holds no address of the web: write https://HOST/PATH".to_owned());
        }
        Ok(Self {
            address: address.to_owned(),
            secret: secret
                .map(|secret| secret.trim().to_owned())
                .filter(|secret| !secret.is_empty()),
        })
    }
}

/// A request to a chat: JSON that is posted. Its address is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// How the answer is to be read.
    pub kind: ChatKind,
    /// The address, which holds the right to post.
    pub address: String,
    /// The body.
    pub body: String,
    /// Value of the header `X-Hub-Signature-256`, if there is to be one.
    pub signature: Option<String>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The request that tells a chat some news. `now` goes into signatures, which are good for an hour.
pub fn post(kind: ChatKind, note: &Note, key: &Key, now: Timestamp) -> Post {
    let mut address = key.address.clone();
    let mut signature = None;
    let body = match kind {
        ChatKind::DingTalk => {
            if let Some(secret) = &key.secret {
                address = dingtalk_address(&address, secret, now);
            }
            json!({"msgtype": "text", "text": {"content": note.text()}})
        }
        ChatKind::Feishu => feishu(note, key.secret.as_deref(), now),
        ChatKind::WeCom => json!({"msgtype": "text", "text": {"content": note.text()}}),
        ChatKind::Slack => json!({"text": slack_text(&note.text()), "unfurl_links": false}),
        ChatKind::Webhook => webhook(note),
    }
    .to_string();
    if let (ChatKind::Webhook, Some(secret)) = (kind, &key.secret) {
        let code = mac::code(secret.as_bytes(), &[body.as_bytes()]);
        signature = Some(format!("sha256={}", hex(&code)));
    }
    Post {
        kind,
        address,
        body,
        signature,
    }
}

/// The robot's address with time and signature: HMAC of `MILLISECONDS\nSECRET` with the secret as key.
fn dingtalk_address(address: &str, secret: &str, now: Timestamp) -> String {
    let time = now.as_millisecond().to_string();
    let code = mac::code(secret.as_bytes(), &[time.as_bytes(), b"\n", secret.as_bytes()]);
    let sign = base64::encode(&code)
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let mark = if address.contains('?') { '&' } else { '?' };
    format!("{address}{mark}timestamp={time}&sign={sign}")
}

/// Feishu signs nothing with `SECONDS\nSECRET` as the key. Its plain texts know tags, those of a `post` do not.
fn feishu(note: &Note, secret: Option<&str>, now: Timestamp) -> Value {
    let room = MAX_TEXT.saturating_sub(note.link.len());
    let text = note.lines().join("\n");
    let mut content = vec![json!([{"tag": "text", "text": cut(&text, room)}])];
    if !note.link.is_empty() {
        content.push(json!([{"tag": "a", "text": note.link, "href": note.link}]));
    }
    let words = json!({"title": note.title(), "content": content});
    let mut body = json!({"msg_type": "post", "content": {"post": {"zh_cn": words}}});
    if let Some(secret) = secret {
        let time = now.as_second().to_string();
        let code = mac::code(format!("{time}\n{secret}").as_bytes(), &[]);
        body["timestamp"] = Value::from(time);
        body["sign"] = Value::from(base64::encode(&code));
    }
    body
}

/// Without these three nothing is markup that could call somebody.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn webhook(note: &Note) -> Value {
    let (namespace, name) = &note.delivery;
    json!({
        "id": note.id(),
        "news": format!("{:?}", note.news),
        "delivery": {"namespace": namespace, "name": name},
        "commit": note.commit,
        "subject": note.subject,
        "author": note.author,
        "message": note.message,
        "link": note.link,
        "since": note.since.to_string(),
        "text": note.text(),
    })
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
