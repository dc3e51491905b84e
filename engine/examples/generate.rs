//! Writes a configuration of a given size into a directory: what the measurements of a plan run on.
//!
//! `cargo run --release -p reactorcide-engine --example generate -- 10000 DIRECTORY`

#[path = "../benches/workload/mod.rs"]
mod workload;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(size), Some(directory)) =
        (arguments.next().and_then(|text| text.parse().ok()), arguments.next())
    else {
        eprintln!("usage: generate RESOURCES DIRECTORY");
        std::process::exit(64);
    };
    let root = std::path::Path::new(&directory);
    for file in workload::configuration(size) {
        let path = root.join(&file.path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, file.bytes).expect("a file");
    }
}
