//! The edges between the steps of a job, and what can be wrong with them.

use std::collections::HashMap;

use crate::spec::StepSpec;

/// The most steps that a job may have.
pub const MAX_STEPS: usize = 1_000;

/// What is wrong with the steps of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two steps share a name.
    #[error("two steps are named {name:?}")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A step waits for one that does not exist.
    #[error("step {step:?} depends on {dependency:?}, which is not a step of this job")]
    UnknownDependency {
        /// The step.
        step: String,
        /// What it waits for.
        dependency: String,
    },
    /// Steps wait for each other.
    #[error("steps wait for each other: {}", .path.join(" -> "))]
    Cycle {
        /// Each step waits for the next; the last is the first again.
        path: Vec<String>,
    },
    /// More than [`MAX_STEPS`].
    #[error("a job may have at most {MAX_STEPS} steps, this one has {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// For each step the indices of the steps that it waits for, checked.
pub(super) fn dependencies(steps: &[StepSpec]) -> Result<Vec<Vec<usize>>, GraphError> {
    if steps.len() > MAX_STEPS {
        return Err(GraphError::TooMany { count: steps.len() });
    }
    let mut indices = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        if indices.insert(step.name.as_str(), index).is_some() {
            return Err(GraphError::Duplicate { name: step.name.clone() });
        }
    }
    let mut last_sequential = None;
    let mut all = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let mut needed: Vec<usize> = match &step.depends_on {
            None if step.parallel => last_sequential.into_iter().collect(),
            None => (0..index).collect(),
            Some(names) => names
                .iter()
                .map(|name| {
                    indices.get(name.as_str()).copied().ok_or_else(|| GraphError::UnknownDependency {
                        step: step.name.clone(),
                        dependency: name.clone(),
                    })
                })
                .collect::<Result<_, _>>()?,
        };
        needed.sort_unstable();
        needed.dedup();
        all.push(needed);
        if !step.parallel {
            last_sequential = Some(index);
        }
    }
    match cycle(&all) {
        Some(path) => {
            Err(GraphError::Cycle { path: path.into_iter().map(|index| steps[index].name.clone()).collect() })
        }
        None => Ok(all),
    }
}

/// One cycle, its first element repeated at the end.
fn cycle(dependencies: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; dependencies.len()];
    for root in 0..dependencies.len() {
        if marks[root] != Mark::New {
            continue;
        }
        // Each entry is a step of the path from the root, and how many of its dependencies were looked at.
        let mut path = vec![(root, 0)];
        marks[root] = Mark::Open;
        while let Some(&mut (node, ref mut looked_at)) = path.last_mut() {
            let Some(&next) = dependencies[node].get(*looked_at) else {
                marks[node] = Mark::Done;
                path.pop();
                continue;
            };
            *looked_at += 1;
            match marks[next] {
                Mark::Done => {}
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push((next, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|&(node, _)| node == next).unwrap_or(0);
                    let mut found: Vec<usize> = path[from..].iter().map(|&(node, _)| node).collect();
                    found.push(next);
                    return Some(found);
                }
            }
        }
    }
    None
}
