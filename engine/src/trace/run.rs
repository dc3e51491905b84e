//! The spans of a run: of the run, of each attempt of each job, and of what an attempt consists of. Functions on what is
//! stored of a run.
//!
//! Whoever knows the two ends of a span tells of it: the server of runs, attempts and of how long they were queued, the
//! worker of how long it prepared and ran them.

use std::collections::BTreeMap;

use super::{Phase, Span, SpanId, Trace};
use crate::coordinator::LeaseId;
use crate::runs::RunRecord;
use crate::scheduler::{AttemptResult, Millis, NodeName, Transition};

/// The spans of a run that has ended, and of all its attempts, from its decisions.
pub fn spans_of_run(run: &RunRecord, trace: &Trace, transitions: &[Transition]) -> Vec<Span> {
    let Some(ended_at) = run.ended_at else { return Vec::new() };
    let mut begun: BTreeMap<(&NodeName, u32), Millis> = BTreeMap::new();
    let mut ends: BTreeMap<(&NodeName, u32), (Millis, &str)> = BTreeMap::new();
    for transition in transitions {
        let (Some(node), Some(attempt)) = (&transition.node, transition.attempt) else { continue };
        let at = transition.at;
        match transition.to.as_str() {
            "queued" => {
                begun.entry((node, attempt)).or_insert(at);
                // What is queued again has failed before.
                if attempt > 1 && begun.contains_key(&(node, attempt - 1)) {
                    ends.entry((node, attempt - 1)).or_insert((at, "failed"));
                }
            }
            word @ ("succeeded" | "failed" | "cancelled" | "skipped") => {
                ends.entry((node, attempt)).or_insert((at, word));
            }
            _ => {}
        }
    }
    let id = SpanId::of_run(&run.id);
    let attempts = begun.into_iter().map(|((node, attempt), start)| {
        let (end, word) = ends.get(&(node, attempt)).copied().unwrap_or((ended_at, "cancelled"));
        Span {
            trace: trace.clone(),
            id: SpanId::of_attempt(&run.id, node, attempt),
            parent: Some(id),
            name: format!("job {node}"),
            start,
            end,
            attributes: vec![
                ("reactorcide.run.id", run.id.as_str().into()),
                ("reactorcide.job.name", node.as_str().into()),
                ("reactorcide.job.attempt", attempt.into()),
                ("reactorcide.job.result", word.into()),
            ],
            error: (word != "succeeded").then(|| word.to_owned()),
        }
    });
    let word = run.status.as_str();
    let whole = Span {
        trace: trace.clone(),
        id,
        parent: trace.parent,
        name: format!("run {}", run.pipeline),
        start: run.started_at,
        end: ended_at,
        attributes: vec![
            ("reactorcide.run.id", run.id.as_str().into()),
            ("reactorcide.pipeline", run.pipeline.as_str().into()),
            ("reactorcide.project", run.project.as_deref().unwrap_or_default().into()),
            ("reactorcide.event", run.event.as_str().into()),
            ("reactorcide.run.result", word.into()),
        ],
        error: (word != "succeeded").then(|| word.to_owned()),
    };
    std::iter::once(whole).chain(attempts).collect()
}

/// The span of an attempt's time in the queue.
pub fn queued(trace: &Trace, attempt: (&str, &str, u32), from: Millis, to: Millis, worker: &str) -> Span {
    Span {
        attributes: vec![("reactorcide.worker", worker.into())],
        ..part(trace, attempt, Phase::Queued, from, to)
    }
}

/// The spans of what a worker did of an attempt: it prepared it, and it ran it, if it came to that.
pub fn worked(
    trace: &Trace,
    lease: &LeaseId,
    taken: Millis,
    begun: Option<Millis>,
    ended: Millis,
    result: &AttemptResult,
) -> Vec<Span> {
    let failure = result.failure.map(|reason| {
        let word = serde_json::to_value(reason).unwrap_or_default();
        word.as_str().unwrap_or_default().to_owned()
    });
    let attempt = (lease.run.as_str(), lease.node.as_str(), lease.attempt);
    let mut spans = Vec::with_capacity(2);
    // Who went on with it did not prepare it.
    if begun.is_none_or(|begun| taken <= begun) {
        spans.push(part(trace, attempt, Phase::Prepare, taken, begun.unwrap_or(ended)));
    }
    spans.extend(begun.map(|begun| part(trace, attempt, Phase::Running, begun, ended)));
    if let Some(last) = spans.last_mut() {
        last.attributes.extend(failure.as_deref().map(|word| ("reactorcide.failure", word.into())));
        if let Some(code) = result.exit_code {
            last.attributes.push(("process.exit.code", super::Scalar::Number(i64::from(code))));
        }
        last.error = failure;
    }
    spans
}

fn part(
    trace: &Trace,
    (run, node, attempt): (&str, &str, u32),
    phase: Phase,
    start: Millis,
    end: Millis,
) -> Span {
    Span {
        trace: trace.clone(),
        id: SpanId::of_phase(run, node, attempt, phase),
        parent: Some(SpanId::of_attempt(run, node, attempt)),
        name: phase.as_str().to_owned(),
        start,
        end,
        attributes: Vec::new(),
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::RunStatus;

    fn record() -> RunRecord {
        RunRecord {
            id: "r".into(),
            pipeline: "Pipeline/web/ci".into(),
            project: Some("web".into()),
            event: "push".into(),
            actor: "ada".into(),
            retry_of: None,
            holder: None,
            started_at: 100,
            ended_at: Some(900),
            status: RunStatus::Succeeded,
        }
    }

    #[test]
    fn an_attempt_lasts_from_the_queue_to_its_end_or_to_the_next() {
        let became = |at, node: &str, attempt, to: &str| Transition {
            at,
            node: Some(node.into()),
            attempt,
            to: to.into(),
            reason: "so".into(),
        };
        let transitions = [
            became(100, "a", None, "waiting"),
            became(110, "a", Some(1), "queued"),
            became(200, "a", Some(1), "running"),
            became(300, "a", Some(2), "queued"),
            became(400, "a", Some(2), "running"),
            became(800, "a", Some(2), "succeeded"),
            became(900, "b", None, "skipped"),
        ];
        let trace = Trace::new([3; 16]);
        let spans = spans_of_run(&record(), &trace, &transitions);
        let times: Vec<(&str, i64, i64, Option<&str>)> = spans
            .iter()
            .map(|span| (span.name.as_str(), span.start, span.end, span.error.as_deref()))
            .collect();
        assert_eq!(
            times,
            [
                ("run Pipeline/web/ci", 100, 900, None),
                ("job a", 110, 300, Some("failed")),
                ("job a", 300, 800, None),
            ]
        );
        assert!(spans[1..].iter().all(|span| span.parent == Some(spans[0].id)));
        let goes_on = RunRecord { ended_at: None, ..record() };
        assert_eq!(spans_of_run(&goes_on, &trace, &transitions), []);
    }

    #[test]
    fn what_never_ran_was_prepared_and_failed_there() {
        let lease = LeaseId { run: "r".into(), node: "a".into(), attempt: 1, token: "t".into() };
        let result = AttemptResult {
            failure: Some(crate::config::FailureReason::ImagePull),
            exit_code: None,
            message: None,
            outputs: BTreeMap::new(),
            started: false,
            permanent: true,
            usage: None,
        };
        let spans = worked(&Trace::new([3; 16]), &lease, 10, None, 40, &result);
        assert_eq!(spans.len(), 1);
        assert_eq!((spans[0].name.as_str(), spans[0].end), ("prepare", 40));
        assert_eq!(spans[0].error.as_deref(), Some("image_pull"));
        let spans = worked(&Trace::new([3; 16]), &lease, 10, Some(20), 40, &result);
        assert_eq!((spans[0].error.as_deref(), spans[1].error.as_deref()), (None, Some("image_pull")));
        assert_eq!((spans[1].start, spans[1].end), (20, 40));
    }
}
