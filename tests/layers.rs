//! The layers of ARCHITECTURE.md, held against what the crates really depend on.

use cargo_metadata::{DependencyKind, MetadataCommand};

/// One dependency of a package of this workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    package: String,
    dependency: String,
}

/// What each package of the workspace may depend on among the others.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("reactorcide-protocol", &[]),
    ("reactorcide-engine", &["reactorcide-protocol"]),
    ("reactorcide-runner", &["reactorcide-protocol"]),
    ("reactorcide-state", &["reactorcide-engine", "reactorcide-protocol"]),
    ("reactorcide-providers", &["reactorcide-engine", "reactorcide-protocol"]),
    ("reactorcide-worker", &["reactorcide-engine", "reactorcide-protocol", "reactorcide-providers"]),
    (
        "reactorcide-server",
        &["reactorcide-engine", "reactorcide-protocol", "reactorcide-providers", "reactorcide-state"],
    ),
    (
        "reactorcide",
        &[
            "reactorcide-engine",
            "reactorcide-protocol",
            "reactorcide-providers",
            "reactorcide-server",
            "reactorcide-state",
            "reactorcide-worker",
        ],
    ),
];

/// Libraries that have one home, and where that is.
const HOMES: [(&str, &str); 7] = [
    ("sqlx", "reactorcide-state"),
    ("object_store", "reactorcide-state"),
    ("bollard", "reactorcide-providers"),
    ("kube", "reactorcide-providers"),
    ("k8s-openapi", "reactorcide-providers"),
    ("clap", "reactorcide"),
    ("axum", "reactorcide-server"),
];

/// What decisions must not know: runtimes, databases, engines, the network, the command line.
const NOT_IN_DECISIONS: [&str; 9] =
    ["tokio", "sqlx", "bollard", "kube", "axum", "reqwest", "clap", "rustix", "tokio-util"];

/// Every rule that a dependency breaks, in words.
fn violations(edges: &[Edge]) -> Vec<String> {
    edges.iter().filter_map(violation).collect()
}

fn violation(Edge { package, dependency }: &Edge) -> Option<String> {
    let is_ours = MAY_USE.iter().any(|(name, _)| name == dependency);
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == package) else {
        return Some(format!(
            "{package} is a package that the layers do not know: add it to tests/layers.rs"
        ));
    };
    if is_ours && !allowed.contains(&dependency.as_str()) {
        return Some(format!("{package} must not depend on {dependency}"));
    }
    if let Some((_, home)) = HOMES.iter().find(|(library, _)| library == dependency)
        && home != package
    {
        return Some(format!("{dependency} belongs in {home}, not in {package}"));
    }
    let decides = ["reactorcide-engine", "reactorcide-protocol"].contains(&package.as_str());
    if decides && NOT_IN_DECISIONS.contains(&dependency.as_str()) {
        return Some(format!("{package} makes decisions and must not know {dependency}"));
    }
    None
}

#[test]
fn the_crates_keep_the_layers() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().expect("cargo metadata");
    let edges: Vec<Edge> = metadata
        .packages
        .iter()
        .flat_map(|package| {
            let normal = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
            normal.map(|d| Edge { package: package.name.to_string(), dependency: d.name.clone() })
        })
        .collect();
    assert!(edges.len() > 30, "the workspace was read: {edges:?}");
    assert_eq!(violations(&edges), Vec::<String>::new());
}

#[test]
fn a_broken_layer_is_named() {
    let edge =
        |package: &str, dependency: &str| Edge { package: package.into(), dependency: dependency.into() };
    for (package, dependency) in [
        ("reactorcide-runner", "reactorcide-engine"),
        ("reactorcide-providers", "reactorcide-state"),
        ("reactorcide-state", "reactorcide-providers"),
        ("reactorcide-worker", "reactorcide-state"),
        ("reactorcide-engine", "tokio"),
        ("reactorcide-protocol", "reqwest"),
        ("reactorcide-server", "sqlx"),
        ("reactorcide-worker", "bollard"),
        ("reactorcide-server", "clap"),
        ("reactorcide-extra", "serde"),
    ] {
        let found = violations(&[edge(package, dependency)]);
        assert_eq!(found.len(), 1, "{package} -> {dependency}");
        assert!(found[0].contains(package), "{found:?}");
    }
    assert!(violations(&[edge("reactorcide-engine", "serde"), edge("reactorcide-state", "sqlx")]).is_empty());
}
