//! Plans for a part of a configuration: some resources and what they refer to, the rest as it is applied.

use crate::address::Address;
use crate::config::Catalog;
use crate::reference::references;

/// Why a part cannot be planned alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is neither declared nor applied.
    #[error("{0} is neither declared nor applied")]
    Unknown(Address),
    /// The rest would refer to what goes.
    #[error("{from} refers to {to}, which would be gone: it must be a target too")]
    Dangling {
        /// Who refers.
        from: Address,
        /// To what.
        to: Address,
    },
}

/// What the state would be if of a configuration only these resources, and what they refer to, were applied.
pub fn targeted(declared: &Catalog, applied: &Catalog, targets: &[Address]) -> Result<Catalog, TargetError> {
    let mut result = applied.clone();
    let mut pending = targets.to_vec();
    let mut seen = std::collections::BTreeSet::new();
    while let Some(address) = pending.pop() {
        if !seen.insert(address.clone()) {
            continue;
        }
        match declared.get(&address) {
            Some(resource) => {
                for reference in references(resource) {
                    pending.extend(reference.resolve(|candidate| declared.contains_key(candidate)).cloned());
                }
                if let Some(old) = &resource.metadata.renamed_from {
                    result.remove(&Address { name: old.clone(), ..address.clone() });
                }
                result.insert(address, resource.clone());
            }
            None if result.remove(&address).is_some() => {}
            None => return Err(TargetError::Unknown(address)),
        }
    }
    match dangling(&result, applied) {
        Some((from, to)) => Err(TargetError::Dangling { from, to }),
        None => Ok(result),
    }
}

/// A resource that refers to one that is not there, though it was before.
pub fn dangling(catalog: &Catalog, before: &Catalog) -> Option<(Address, Address)> {
    catalog.iter().find_map(|(address, resource)| {
        references(resource)
            .into_iter()
            .find(|reference| reference.resolve(|candidate| catalog.contains_key(candidate)).is_none())
            .map(|reference| {
                let was = reference.resolve(|candidate| before.contains_key(candidate));
                (address.clone(), was.unwrap_or(&reference.candidates[0]).clone())
            })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Kind, Resource};
    use crate::plan::tests::resource;

    fn catalog(resources: Vec<Resource>) -> Catalog {
        resources.into_iter().map(|resource| (resource.address(), resource.into())).collect()
    }

    fn pipeline(name: &str, template: &str) -> Resource {
        resource(Kind::Pipeline, name, json!({"jobs": {"a": {"template": template}}}))
    }

    fn template(name: &str, image: &str) -> Resource {
        resource(Kind::JobTemplate, name, json!({"job": {"image": image, "command": "x"}}))
    }

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn a_target_takes_along_what_it_refers_to_and_nothing_else() {
        let project = || resource(Kind::Project, "web", json!({}));
        let declared =
            catalog(vec![project(), template("t", "new"), template("u", "new"), pipeline("web/ci", "t")]);
        let applied = catalog(vec![project(), template("t", "old"), template("u", "old")]);
        let result = targeted(&declared, &applied, &[address("Pipeline/web/ci")]).expect("it can be planned");
        assert_eq!(*result[&address("JobTemplate/-/t")], template("t", "new"));
        assert_eq!(*result[&address("JobTemplate/-/u")], template("u", "old"));
        assert!(result.contains_key(&address("Pipeline/web/ci")));
    }

    #[test]
    fn what_others_need_is_not_deleted_alone() {
        let project = resource(Kind::Project, "web", json!({}));
        let applied = catalog(vec![project.clone(), template("t", "x"), pipeline("web/ci", "t")]);
        let (declared, target) = (catalog(vec![project]), address("JobTemplate/-/t"));
        assert_eq!(
            targeted(&declared, &applied, std::slice::from_ref(&target)),
            Err(TargetError::Dangling { from: address("Pipeline/web/ci"), to: target.clone() })
        );
        let both = [target, address("Pipeline/web/ci")];
        assert_eq!(targeted(&declared, &applied, &both), Ok(declared.clone()));
        let unknown = address("Project/none");
        assert_eq!(
            targeted(&declared, &Catalog::new(), std::slice::from_ref(&unknown)),
            Err(TargetError::Unknown(unknown))
        );
    }
}
