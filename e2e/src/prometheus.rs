//! What Prometheus answers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value, which may be NaN.
    pub value: f64,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Series>),
    Scalar((f64, String)),
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// The samples of an instant query's answer.
pub(crate) fn samples(text: &str) -> Result<Vec<Sample>> {
    let answer: Answer = serde_json::from_str(text)?;
    ensure!(answer.status == "success", "{}", answer.error);
    let series = match answer.data.context("an answer without data")? {
        Data::Vector(series) => series,
        Data::Scalar(value) => vec![Series {
            metric: BTreeMap::new(),
            value,
        }],
    };
    let sample = |series: Series| {
        Ok(Sample {
            labels: series.metric,
            value: series.value.1.parse()?,
        })
    };
    series.into_iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_scalars_and_errors() {
        let labels = BTreeMap::from([("version".to_owned(), "v2".to_owned())]);
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"version":"v2"},"value":[1.5,"20.5"]}]}}"#;
        assert_eq!(samples(vector).unwrap(), [Sample { labels, value: 20.5 }]);
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"+Inf"]}}"#;
        assert_eq!(
            samples(scalar).unwrap(),
            [Sample {
                labels: BTreeMap::new(),
                value: f64::INFINITY
            }]
        );
        let error = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(samples(error).unwrap_err().to_string(), "parse error");
    }
}
