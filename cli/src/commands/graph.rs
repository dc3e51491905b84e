//! `reactorcide graph`: the references between resources, or the jobs of one pipeline, as a drawing.

use std::io::Write;

use clap::{Args, ValueEnum};
use reactorcide_engine::address::Address;
use reactorcide_engine::config::{Catalog, Kind, Spec};
use reactorcide_engine::graph::{Format, Graph, render};
use reactorcide_engine::reference::references;

use crate::config_files::Files;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;

/// Arguments of `graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The language to draw in
    #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
    format: GraphFormat,
    /// Draw the jobs of this pipeline, PROJECT/NAME
    #[arg(long, value_name = "PIPELINE")]
    pipeline: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphFormat {
    /// Graphviz
    Dot,
    /// Mermaid, for Markdown
    Mermaid,
}

/// Draws the graph.
pub fn graph(arguments: &GraphArgs, settings: &Settings) -> Result<Exit, Failure> {
    let catalog = Files::of(settings)?.read_valid()?.into_catalog();
    let (nodes, edges) = match &arguments.pipeline {
        Some(pipeline) => jobs(&catalog, pipeline)?,
        None => resources(&catalog),
    };
    let format = match arguments.format {
        GraphFormat::Dot => Format::Dot,
        GraphFormat::Mermaid => Format::Mermaid,
    };
    let _ = write!(crate::stdout::stdout(), "{}", render(format, &nodes, &edges));
    Ok(Exit::Success)
}

type Drawing = (Vec<String>, Vec<(String, String)>);

fn resources(catalog: &Catalog) -> Drawing {
    let graph = Graph::new(catalog.iter().map(|(address, resource)| (address, references(resource))));
    let nodes = graph.addresses().map(ToString::to_string).collect();
    let edges = graph.edges().iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
    (nodes, edges)
}

/// The jobs of a pipeline. Arrows point the way that the run goes.
fn jobs(catalog: &Catalog, pipeline: &str) -> Result<Drawing, Failure> {
    let (project, name) = pipeline.split_once('/').ok_or_else(|| {
        Failure::new(format!("{pipeline:?} names no pipeline")).hint("write PROJECT/NAME").exit(Exit::Usage)
    })?;
    let address = Address::new(Kind::Pipeline, Some(project), name);
    let Some(Spec::Pipeline(spec)) = catalog.get(&address).map(|resource| &resource.spec) else {
        return Err(Failure::new(format!("there is no {address} in the configuration")));
    };
    let nodes = spec.jobs.keys().cloned().collect();
    let needs = spec
        .jobs
        .iter()
        .flat_map(|(name, job)| job.depends_on.iter().map(move |needed| (needed.clone(), name.clone())));
    Ok((nodes, needs.collect()))
}
