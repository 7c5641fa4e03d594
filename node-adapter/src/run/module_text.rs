//! What is said to people of modules.

use crate::module::ModuleInfo;

/// All of them, a line each below a line of titles.
pub(super) fn table(modules: &[ModuleInfo]) -> Vec<String> {
    if modules.is_empty() {
        return vec![
            "no module is known: put one into the modules directory, or load it with blvm load".to_owned(),
        ];
    }
    let titles = ["NAME", "VERSION", "STATE", "HEALTH", "PID", "RESTARTS", "LAST EXIT"].map(str::to_owned);
    let rows = modules.iter().map(|module| {
        [
            module.name.clone(),
            module.version.clone(),
            module.state.to_string(),
            module.health.to_string(),
            module.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            module.restarts.to_string(),
            module.last_exit.map_or("-".to_owned(), |exit| exit.to_string()),
        ]
    });
    let rows: Vec<_> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// One of them, a line for each thing known; it reports `metrics` series.
pub(super) fn card(module: &ModuleInfo, metrics: u64) -> Vec<String> {
    let mut lines = vec![
        format!("name           {} {}", module.name, module.version),
        format!("state          {}, health {}", module.state, module.health),
    ];
    let mut line = |title: &str, text: String| lines.push(format!("{title:14} {text}"));
    if let Some(pid) = module.pid {
        line("process", format!("{pid}, started again {} times after a crash", module.restarts));
    }
    if let Some(exit) = module.last_exit {
        line("last exit", format!("it {exit}"));
    }
    line("program", module.program.display().to_string());
    if let Some(hash) = &module.program_sha256 {
        line("sha256", hash.clone());
    }
    if let Some(trust) = &module.trust {
        line("trust", trust.clone());
    }
    line("may", all(&module.permissions));
    for layer in &module.layers {
        let holds = if layer.is_enforced { "holds" } else { "MISSING" };
        line(&layer.layer, format!("{holds}: {}", layer.detail));
    }
    for topic in &module.topics {
        line("received", format!("{} of {}, {} missed", topic.received, topic.topic, topic.missed));
    }
    if metrics > 0 {
        line("metrics", format!("{metrics} series: blvm module metrics {}", module.name));
    }
    lines
}

/// That it is at work.
pub(super) fn at_work(module: &ModuleInfo) -> Vec<String> {
    let pid = module.pid.map_or(String::new(), |pid| format!(", process {pid}"));
    vec![format!("module {} {} is {}{pid}", module.name, module.version, module.state)]
}

fn all(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}
