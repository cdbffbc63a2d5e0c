//! Web: any HTTP endpoint that answers JSON (F111).

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tidegate_analysis::jsonpath::Path;
use tidegate_analysis::{Answer, Outcome, Trouble};
use tidegate_crds::{WebMetric, WebMetricMethod};

use crate::{
    Failure, Measured,
    auth::{Login, Tokens},
    http::{Answered, Http, address, headers},
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn measure(http: &Http, tokens: &Tokens, metric: &WebMetric) -> Result<Measured, Failure> {
    let configuration = |message: &str| Failure::new(Trouble::Configuration, message);
    let method = match &metric.method {
        None | Some(WebMetricMethod::Unset | WebMetricMethod::Get) => Method::GET,
        Some(WebMetricMethod::Post) => Method::POST,
        Some(WebMetricMethod::Put) => Method::PUT,
        Some(WebMetricMethod::Other(other)) => {
            return Err(configuration(&format!(
                "method {other:?} is none of GET, POST and PUT"
            )));
        }
    };
    let body = metric.body.as_ref().filter(|body| !body.is_empty());
    let json_body = metric.json_body.as_ref().filter(|body| !body.is_null());
    if body.is_some() && json_body.is_some() {
        return Err(configuration(
            "use either Body or JSONBody; both cannot exists for WebMetric payload",
        ));
    }
    if (body.is_some() || json_body.is_some()) && method == Method::GET {
        return Err(configuration(
            "Body/JSONBody can only be used with POST or PUT WebMetric Method types",
        ));
    }
    let path = path_of(metric)?;
    let timeout = match metric.timeout_seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => DEFAULT_TIMEOUT,
    };

    let mut headers = headers(&metric.headers)?;
    if json_body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let insecure = metric.insecure == Some(true);
    let login = Login {
        authentication: metric.authentication.as_ref(),
        insecure,
    };
    let mut request = http
        .client(insecure)
        .request(method, address(&metric.url, "url")?)
        .headers(headers);
    if let Some(body) = body {
        request = request.body(body.clone());
    } else if let Some(json) = json_body {
        request = request.body(json.to_string());
    }
    let answered = http
        .send(tokens.log_in(http, request, &login).await?, timeout)
        .await?;

    if answered.status.as_u16() == 401 {
        tokens.forget(&login);
    }
    read(&answered, &path)
}

/// Where in the answer the value is.
pub(crate) fn path_of(metric: &WebMetric) -> Result<Path, Failure> {
    let path = metric
        .json_path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("{$}");
    Path::parse(path).map_err(|error| Failure::new(Trouble::Configuration, error.to_string()))
}

/// What an answer says.
pub(crate) fn read(answered: &Answered, path: &Path) -> Result<Measured, Failure> {
    let status = answered.status;
    if !status.is_success() {
        let trouble = if status.is_server_error() {
            Trouble::ServerError
        } else {
            Trouble::Rejected
        };
        return Err(Failure::new(
            trouble,
            format!("received non 2xx response code: {}", status.as_u16()),
        ));
    }
    Ok(Measured {
        outcome: Outcome::Value(selected(&answered.body, path)?),
        metadata: BTreeMap::new(),
    })
}

/// What the path selects; a body that is no JSON is its text.
fn selected(body: &[u8], path: &Path) -> Result<Answer, Failure> {
    let document: Value = match serde_json::from_slice(body) {
        Ok(document) => document,
        Err(error) if error.to_string().starts_with("recursion limit") => {
            return Err(Failure::new(
                Trouble::Malformed,
                "the answer is nested too deeply",
            ));
        }
        Err(_) => return Ok(Answer::Text(String::from_utf8_lossy(body).into_owned())),
    };
    let value = path.first(&document).map_err(|error| {
        Failure::new(
            Trouble::NoData,
            format!("Could not find JSONPath in body: {error}"),
        )
    })?;
    let value =
        value.ok_or_else(|| Failure::new(Trouble::NoData, "result of web metric produced no value"))?;
    Ok(Answer::Json(value.clone()))
}
