//! The reader over the configurations that this repository ships.

use std::path::{Path, PathBuf};

use reactorcide_engine::read::{Budget, InputFile, Reading, read};

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                found.push(path);
            }
        }
    }
    found
}

fn read_directory(directory: &str) -> Reading {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let input = files(&root).into_iter().map(|path| InputFile {
        path: path.strip_prefix(&root).expect("below").to_string_lossy().into_owned(),
        bytes: std::fs::read(&path).expect("readable"),
    });
    read(input.collect(), &Budget::default())
}

#[test]
fn what_we_ship_is_valid() {
    for directory in [
        "examples/hello/.reactorcide",
        "examples/c-project/.reactorcide",
        "examples/company/.reactorcide",
        "examples/company-change/.reactorcide",
        ".reactorcide",
    ] {
        let reading = read_directory(directory);
        let told: Vec<String> = reading
            .diagnostics
            .iter()
            .map(|d| {
                let place = d.span.map(|span| {
                    let file = &reading.configuration.sources[span.source as usize];
                    let line = file.text[..span.start as usize].matches('\n').count() + 1;
                    format!("{}:{line}", file.path)
                });
                format!("{place:?} {}: {} ({:?})", d.code, d.message, d.hint)
            })
            .collect();
        assert_eq!(told, Vec::<String>::new(), "{directory}");
        assert!(!reading.configuration.resources.is_empty());
    }
}
