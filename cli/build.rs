//! Builds the static runner that goes into job containers, so that the `reactorcide` binary carries it, and lists the
//! files of the Python package for job code, which it carries too.
//!
//! The runner is its own build: another profile, statically linked, and with a target directory of its own
//! (`target/runner-static`), since the directory of the build that runs this script is locked. A build of the
//! same sources is a fraction of a second. Set `REACTORCIDE_RUNNER_BINARY` to the path of a runner that was
//! built elsewhere to use that one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const OVERRIDE: &str = "REACTORCIDE_RUNNER_BINARY";

fn main() {
    let root = variable("CARGO_MANIFEST_DIR").join("..");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    for source in
        ["runner/src", "runner/Cargo.toml", "protocol/src", "protocol/Cargo.toml", "Cargo.toml", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out = variable("OUT_DIR");
    list_python_package(&root.join("runner/python/src/runnerlib"), &out);
    let built = match env::var_os(OVERRIDE) {
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            path.into()
        }
        None => build(&root, &target_directory(&out).join("runner-static")),
    };
    fs::copy(&built, out.join("reactorcide-runner"))
        .unwrap_or_else(|error| panic!("{} cannot be copied: {error}", built.display()));
}

/// Writes down the files of the Python package, to be included.
fn list_python_package(package: &Path, out: &Path) {
    println!("cargo::rerun-if-changed={}", package.display());
    let entries = fs::read_dir(package).unwrap_or_else(|error| panic!("{}: {error}", package.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "py"));
    files.sort();
    let mut text = "/// The files of the package.\nconst FILES: &[(&str, &[u8])] = &[\n".to_owned();
    for path in files {
        let path = path.canonicalize().expect("a file that was just listed");
        let name = path.file_name().expect("a name").to_string_lossy();
        text.push_str(&format!("    ({name:?}, include_bytes!({:?})),\n", path.display().to_string()));
    }
    text.push_str("];\n");
    fs::write(out.join("python_package.rs"), text).expect("the output directory can be written");
}

fn build(root: &Path, directory: &Path) -> PathBuf {
    let target = variable("TARGET");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--package", "reactorcide-runner", "--profile", "runner"])
        // Without an explicit target the flags would apply to procedural macros, which cannot be static.
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(directory)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    // What clippy, coverage and editors set for their own build.
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "CARGO_BUILD_TARGET"]
    {
        cargo.env_remove(name);
    }
    let status = cargo.status().unwrap_or_else(|error| panic!("cargo cannot be started: {error}"));
    assert!(status.success(), "the static runner cannot be built; see the messages above");
    directory.join(target).join("runner").join("reactorcide-runner")
}

/// The target directory that a build script's output directory lies in; cargo marks it.
fn target_directory(out: &Path) -> PathBuf {
    let marked = out.ancestors().filter(|directory| directory.join("CACHEDIR.TAG").exists()).last();
    marked.unwrap_or(out).to_owned()
}

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("cargo did not set {name}")).into()
}
