//! Reading what a job asks for: one request, a list of them, or one a line.

use serde::Deserialize;
use serde_json::Value;

use super::{Limits, TriggerRequest};
use crate::strict;

/// What is wrong with a triggers file.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// Not JSON, or with repeated keys, or too deep.
    #[error("it is not valid JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("request {number} cannot be read: {source}")]
    Shape {
        /// Which request, from 1.
        number: usize,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
    /// Readable, but it makes no sense.
    #[error("request {number}: {message}")]
    Request {
        /// Which request, from 1.
        number: usize,
        /// What is wrong.
        message: String,
    },
    /// More jobs than allowed.
    #[error("it asks for {asked} jobs, this job may trigger at most {allowed}")]
    TooManyJobs {
        /// Jobs asked for, expansions counted.
        asked: u64,
        /// The limit.
        allowed: u32,
    },
}

/// Reads the contents of a triggers file and checks each request by itself. What only the workflow knows
/// (names, depth, authority) is checked by the server.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Vec<TriggerRequest>, TriggerError> {
    let text = std::str::from_utf8(bytes).map_err(|_| TriggerError::NotText)?;
    let mut requests = Vec::new();
    for value in strict::values(text) {
        match value.map_err(TriggerError::Json)? {
            Value::Array(items) => requests.extend(items),
            value => requests.push(value),
        }
    }
    let mut asked = 0;
    let mut read = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        let number = index + 1;
        let request =
            TriggerRequest::deserialize(request).map_err(|source| TriggerError::Shape { number, source })?;
        check(&request).map_err(|message| TriggerError::Request { number, message })?;
        asked += request.count();
        let request = request.flattened().map_err(|message| TriggerError::Request { number, message })?;
        read.push(request);
    }
    if asked > u64::from(limits.jobs) {
        return Err(TriggerError::TooManyJobs { asked, allowed: limits.jobs });
    }
    Ok(read)
}

pub(super) fn check(request: &TriggerRequest) -> Result<(), String> {
    if request.kind != "trigger_job" {
        return Err(format!("unknown type {:?}, expected \"trigger_job\"", request.kind));
    }
    if request.jobs.is_empty() && request.workflows.is_empty() && request.vars.is_empty() {
        return Err("it asks for nothing: `jobs`, `workflows` and `vars` are all empty".to_owned());
    }
    for job in request.jobs.iter().chain(request.workflows.iter().flat_map(|workflow| &workflow.jobs)) {
        if job.job_name.trim().is_empty() {
            return Err("a job has no name".to_owned());
        }
        if job.depends_on.contains(&job.job_name) {
            return Err(format!("job {:?} depends on itself", job.job_name));
        }
        if job.item_var.is_some() && job.for_each.is_none() {
            return Err(format!("job {:?} has `item_var` but no `for_each`", job.job_name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one(r#"{"type": "trigger_job", "jobs": [{"job_name": "deploy", "env": {"A": "b"}}]}"#, 1)]
    #[case::list(r#"[{"jobs": [{"name": "a"}]}, {"vars": {"x": 1}}]"#, 2)]
    #[case::lines("{\"jobs\": [{\"name\": \"a\"}]}\n{\"jobs\": [{\"name\": \"b\"}]}\n", 2)]
    #[case::nothing("", 0)]
    #[case::workflows(
        r#"{"workflows": [{"name": "w", "jobs": [{"name": "a"}], "vars": {"x": 1}}], "vars": {"x": 1}}"#,
        1
    )]
    #[case::unknown_field(r#"{"jobs": [{"name": "a", "colour": "red"}], "later": 1}"#, 1)]
    fn accepted(#[case] text: &str, #[case] count: usize) {
        assert_eq!(parse(text.as_bytes(), &Limits::default()).unwrap().len(), count);
    }

    #[rstest]
    #[case("{", "it is not valid JSON: EOF")]
    #[case("{\"jobs\": [], \"jobs\": []}", "it is not valid JSON: key \"jobs\" is repeated")]
    #[case("{\"jobs\": 1}", "request 1 cannot be read: invalid type: integer `1`")]
    #[case(
        "[{\"jobs\": [{\"name\": \"a\"}]}, {\"jobs\": [{}]}]",
        "request 2 cannot be read: missing field `job_name`"
    )]
    #[case("{\"type\": \"x\", \"jobs\": [{\"name\": \"a\"}]}", "request 1: unknown type \"x\"")]
    #[case("{}", "request 1: it asks for nothing")]
    #[case(
        "{\"vars\":{\"x\":1},\"workflows\":[{\"vars\":{\"x\":2}}]}",
        "request 1: the variable \"x\" is set to two values"
    )]
    #[case("{\"workflows\":[{\"jobs\":[{\"name\":\"\"}]}]}", "request 1: a job has no name")]
    #[case("3", "request 1 cannot be read: invalid type: integer `3`")]
    #[case("{\"jobs\": [{\"name\": \" \"}]}", "request 1: a job has no name")]
    #[case("{\"jobs\": [{\"name\": \"a\", \"needs\": [\"a\"]}]}", "request 1: job \"a\" depends on itself")]
    #[case(
        "{\"jobs\": [{\"name\": \"a\", \"for_each\": [1,2,3]}]}",
        "it asks for 3 jobs, this job may trigger at most 2"
    )]
    fn refused(#[case] text: &str, #[case] message: &str) {
        let error = parse(text.as_bytes(), &Limits { jobs: 2, ..Limits::default() }).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
