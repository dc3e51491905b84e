//! What the job asked for so far, by the socket, its output or its file: the caps count all of it together, and what is
//! asked for twice happens once.

use std::collections::BTreeMap;
use std::time::Instant;

use reactorcide_protocol::control::{Code, Refusal};
use reactorcide_protocol::mask::Values;
use reactorcide_protocol::trigger::{Limits, TriggerRequest};

use super::leavings::{fits, secret_in};

/// Requests at once, and a second after that.
const BURST: f64 = 100.0;
const PER_SECOND: f64 = 50.0;
/// The most requests of one attempt, whatever they ask for.
const MAX_REQUESTS: usize = 1_000;

/// What was asked for.
pub struct AskedFor {
    limits: Limits,
    jobs: u64,
    bytes: u64,
    requests: usize,
    /// What each operation asked for.
    operations: BTreeMap<String, String>,
    allowance: f64,
    looked: Instant,
}

impl AskedFor {
    pub fn new(limits: Limits) -> Self {
        let operations = BTreeMap::new();
        Self { limits, jobs: 0, bytes: 0, requests: 0, operations, allowance: BURST, looked: Instant::now() }
    }

    /// Takes a request that comes while the job runs, at most so many in so much time. `None` where it was asked for
    /// before.
    pub fn accept_now(
        &mut self,
        request: TriggerRequest,
        values: &Values,
    ) -> Result<Option<TriggerRequest>, Refusal> {
        let now = Instant::now();
        let earned = now.saturating_duration_since(self.looked).as_secs_f64() * PER_SECOND;
        self.allowance = (self.allowance + earned).min(BURST);
        self.looked = now;
        if self.allowance < 1.0 {
            return Err(Refusal::new(
                Code::Rate,
                format!("at most {PER_SECOND} requests a second are taken"),
            ));
        }
        self.allowance -= 1.0;
        self.accept(request, values)
    }

    /// Takes a request. `None` where it was asked for before.
    pub fn accept(
        &mut self,
        request: TriggerRequest,
        values: &Values,
    ) -> Result<Option<TriggerRequest>, Refusal> {
        let bad = |message: String| Refusal::new(Code::BadRequest, values.mask_str(&message));
        let request = request.flattened().map_err(bad)?;
        let value = serde_json::to_value(&request).map_err(|error| bad(error.to_string()))?;
        if let Some(place) = secret_in(&value, "", values) {
            let place = values.mask_str(place.trim_start_matches('.'));
            let message = format!("{place} contains a secret value, which may not leave the job");
            return Err(Refusal::new(Code::Secret, message));
        }
        fits(&value).map_err(|message| Refusal::new(Code::TooLarge, message))?;
        let text = value.to_string();
        if let Some(id) = &request.operation_id {
            match self.operations.get(id) {
                Some(before) if *before == text => return Ok(None),
                Some(_) => {
                    let message = values.mask_str(&format!("the operation {id:?} was something else before"));
                    return Err(Refusal::new(Code::Conflict, message));
                }
                None => {}
            }
        }
        let jobs = self.jobs + request.count();
        if jobs > u64::from(self.limits.jobs) {
            let allowed = self.limits.jobs;
            let message = format!("it asks for {jobs} jobs in all, this job may trigger at most {allowed}");
            return Err(Refusal::new(Code::TooMany, message));
        }
        if self.requests == MAX_REQUESTS {
            return Err(Refusal::new(Code::TooMany, format!("a job makes at most {MAX_REQUESTS} requests")));
        }
        let bytes = self.bytes + text.len() as u64;
        if bytes > self.limits.file_bytes {
            let message = format!("all requests of a job have at most {} bytes", self.limits.file_bytes);
            return Err(Refusal::new(Code::TooLarge, message));
        }
        (self.jobs, self.bytes, self.requests) = (jobs, bytes, self.requests + 1);
        if let Some(id) = &request.operation_id {
            self.operations.insert(id.clone(), text);
        }
        Ok(Some(request))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(value: serde_json::Value) -> TriggerRequest {
        serde_json::from_value(value).unwrap()
    }

    fn asked() -> (AskedFor, Values) {
        (AskedFor::new(Limits { jobs: 3, ..Limits::default() }), Values::new(["S3CRET"]).unwrap())
    }

    #[test]
    fn the_caps_count_all_requests_together() {
        let (mut asked, values) = asked();
        let two = || request(json!({"workflows": [{"jobs": [{"name": "a"}]}], "jobs": [{"name": "b"}]}));
        let taken = asked.accept(two(), &values).unwrap().unwrap();
        assert_eq!((taken.jobs.len(), taken.workflows.len()), (2, 0));
        assert_eq!(asked.accept(two(), &values).unwrap_err().code, Code::TooMany);
        assert!(asked.accept(request(json!({"jobs": [{"name": "c"}]})), &values).unwrap().is_some());
    }

    #[test]
    fn an_operation_happens_once() {
        let (mut asked, values) = asked();
        let one = |name: &str| request(json!({"operation_id": "x", "jobs": [{"name": name}]}));
        assert!(asked.accept(one("a"), &values).unwrap().is_some());
        assert_eq!(asked.accept(one("a"), &values), Ok(None));
        assert_eq!(asked.accept(one("b"), &values).unwrap_err().code, Code::Conflict);
    }

    #[test]
    fn secrets_do_not_leave() {
        let (mut asked, values) = asked();
        let refusal =
            asked.accept(request(json!({"jobs": [{"name": "a", "env": {"A": "xS3CRETx"}}]})), &values);
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.code, Code::Secret);
        assert!(refusal.message.starts_with("jobs[0].env.A contains"), "{refusal}");
    }

    #[test]
    fn a_flood_is_slowed_down() {
        let (mut asked, values) = asked();
        let one = || request(json!({"vars": {"a": 1}}));
        let refused = (0..200).filter(|_| asked.accept_now(one(), &values).is_err()).count();
        assert!((50..=100).contains(&refused), "{refused}");
    }
}
