//! The digest of all that is applied and decides on who may do what in a pipeline's runs.

use sha2::{Digest, Sha256};

use crate::address::Address;
use crate::config::{Catalog, Kind};
use crate::fingerprint::Fingerprint;

/// In short, what decides on who may do what in a run of a pipeline: the policies, profiles and environments, and the
/// project, the templates and the pipeline itself. It is another one as soon as any of them is.
pub fn digest(catalog: &Catalog, pipeline: &Address) -> String {
    let decides = |address: &&Address| match address.kind {
        Kind::SecretPolicy | Kind::TrustPolicy | Kind::ExecutionProfile => true,
        Kind::Environment | Kind::JobTemplate => {
            address.project.is_none() || address.project == pipeline.project
        }
        Kind::Project => Some(&address.name) == pipeline.project.as_ref(),
        Kind::Pipeline => *address == pipeline,
        _ => false,
    };
    let mut hash = Sha256::new();
    for (address, resource) in catalog.iter().filter(|(address, _)| decides(address)) {
        hash.update(format!("{address} {}\n", Fingerprint::of(resource)));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::tests::resource;

    #[test]
    fn whatever_decides_makes_another_digest_and_nothing_else_does() {
        let base = [
            resource(Kind::Project, "web", json!({})),
            resource(Kind::Project, "api", json!({})),
            resource(Kind::Secret, "key", json!({})),
            resource(Kind::Pipeline, "web/ci", json!({"jobs": {"a": {"image": "i", "command": "c"}}})),
            resource(Kind::Pipeline, "web/other", json!({"jobs": {"a": {"image": "i", "command": "c"}}})),
        ];
        let catalog: Catalog = base.into_iter().map(|one| (one.address(), one.into())).collect();
        let pipeline: Address = "Pipeline/web/ci".parse().expect("an address");
        let with = |kind, name: &str, spec| {
            let mut catalog = catalog.clone();
            let one = resource(kind, name, spec);
            catalog.insert(one.address(), one.into());
            digest(&catalog, &pipeline)
        };
        let now = digest(&catalog, &pipeline);
        assert_eq!(now.len(), 16);
        let job = |image: &str| json!({"jobs": {"a": {"image": image, "command": "c"}}});
        for other in [
            with(Kind::Pipeline, "web/ci", job("evil")),
            with(Kind::Project, "web", json!({"weight": 2})),
            with(Kind::ExecutionProfile, "untrusted", json!({"secrets": "granted"})),
            with(Kind::TrustPolicy, "t", json!({"projects": ["*"], "rules": [{"action": "run"}]})),
            with(Kind::SecretPolicy, "s", json!({"allow": [{"secrets": ["key"], "to": {"project": "web"}}]})),
            with(Kind::Environment, "production", json!({})),
        ] {
            assert_ne!(other, now);
        }
        assert_eq!(with(Kind::Pipeline, "web/other", job("x")), now);
        assert_eq!(with(Kind::Project, "api", json!({"weight": 2})), now);
        assert_eq!(with(Kind::Secret, "key2", json!({})), now);
    }
}
