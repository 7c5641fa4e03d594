//! What one module may use: what it asks for, capped by what the operator allows.

use std::time::Duration;

use crate::manifest::Manifest;
use crate::node_file::NodeFile;

/// How much a module is to say in its log: this and what is worse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may become a failure.
    Warn,
    /// What operators want to know.
    #[default]
    Info,
    /// What its author wants to know.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [LogLevel; 6] =
        [LogLevel::Off, LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// Its name in `blvm.toml`, and in the environment of modules.
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// `[module_resource_limits]`: what any module may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitDefaults {
    /// Share of one processor in per cent.
    pub max_cpu_percent: u32,
    /// Private memory in bytes; mappings of the bus do not count.
    pub max_memory_bytes: u64,
    /// Open descriptors.
    pub max_file_descriptors: u64,
    /// Time a module has to attach.
    pub startup_deadline: Duration,
    /// Time it has to end once it was asked.
    pub stop_deadline: Duration,
    /// How much it says in its log.
    pub log_level: LogLevel,
}

impl Default for LimitDefaults {
    /// Half a processor, 512 MiB, 256 descriptors, 10 s to attach and 10 s to end, a log of level `info`.
    fn default() -> Self {
        LimitDefaults {
            max_cpu_percent: 50,
            max_memory_bytes: 512 << 20,
            max_file_descriptors: 256,
            startup_deadline: Duration::from_secs(10),
            stop_deadline: Duration::from_secs(10),
            log_level: LogLevel::Info,
        }
    }
}

/// `[modules.NAME.limits]`: what one module may use instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// Instead of [`LimitDefaults::max_cpu_percent`].
    pub max_cpu_percent: Option<u32>,
    /// Instead of [`LimitDefaults::max_memory_bytes`].
    pub max_memory_bytes: Option<u64>,
    /// Instead of [`LimitDefaults::max_file_descriptors`].
    pub max_file_descriptors: Option<u64>,
    /// Instead of [`LimitDefaults::startup_deadline`].
    pub startup_deadline: Option<Duration>,
    /// Instead of [`LimitDefaults::stop_deadline`].
    pub stop_deadline: Option<Duration>,
    /// Ports it may listen on, of those it asks for; all of them where the operator names none.
    pub listen: Option<Vec<u16>>,
    /// Ports it may connect to, of those it asks for; all of them where the operator names none.
    pub connect: Option<Vec<u16>>,
    /// Instead of [`LimitDefaults::log_level`].
    pub log_level: Option<LogLevel>,
}

/// What one module may use in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Share of one processor in per cent.
    pub cpu_percent: u32,
    /// Private memory in bytes.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub open_files: u64,
    /// Time it has to attach.
    pub startup_deadline: Duration,
    /// Time it has to end.
    pub stop_deadline: Duration,
    /// TCP ports it may listen on.
    pub listen: Vec<u16>,
    /// TCP ports it may connect to.
    pub connect: Vec<u16>,
    /// How much it says in its log.
    pub log_level: LogLevel,
    /// Keys of `[sandbox]` that it gets less of than it asks for.
    pub cut: Vec<&'static str>,
}

impl NodeFile {
    /// What a module may use: what its manifest asks for, and no more than the operator allows; what the operator allows
    /// where it asks for nothing.
    pub fn limits_of(&self, manifest: &Manifest) -> ModuleLimits {
        let none = LimitOverrides::default();
        let own = self.modules.tables.get(&manifest.name).map_or(&none, |table| &table.limits);
        let (defaults, asked) = (&self.limits, &manifest.sandbox);
        let mut cut = Vec::new();
        let mut least = |key, asked: Option<u64>, allowed: u64| {
            if asked.is_some_and(|asked| asked > allowed) {
                cut.push(key);
            }
            asked.unwrap_or(allowed).min(allowed)
        };
        let cpu_percent = own.max_cpu_percent.unwrap_or(defaults.max_cpu_percent);
        // It is at most what the operator allows, a u32.
        let cpu_percent = least("cpu_percent", asked.cpu_percent.map(u64::from), cpu_percent.into()) as u32;
        let memory_bytes = own.max_memory_bytes.unwrap_or(defaults.max_memory_bytes);
        let memory_bytes = least("memory_mb", asked.memory_mb.map(|mb| mb << 20), memory_bytes);
        let open_files = own.max_file_descriptors.unwrap_or(defaults.max_file_descriptors);
        let open_files = least("open_files", asked.open_files, open_files);
        let mut ports = |key, asked: &[u16], allowed: &Option<Vec<u16>>| {
            let is_allowed = |port: &u16| allowed.as_ref().is_none_or(|allowed| allowed.contains(port));
            let granted: Vec<_> = asked.iter().copied().filter(is_allowed).collect();
            if granted.len() < asked.len() {
                cut.push(key);
            }
            granted
        };
        let listen = ports("listen", &asked.listen, &own.listen);
        let connect = ports("connect", &asked.connect, &own.connect);
        ModuleLimits {
            cpu_percent,
            memory_bytes,
            open_files,
            startup_deadline: own.startup_deadline.unwrap_or(defaults.startup_deadline),
            stop_deadline: own.stop_deadline.unwrap_or(defaults.stop_deadline),
            listen,
            connect,
            log_level: own.log_level.unwrap_or(defaults.log_level),
            cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::Sandbox;

    fn limits(file: &str, sandbox: Sandbox) -> ModuleLimits {
        let manifest = Manifest { sandbox, ..Manifest::new("pool", "pool") };
        NodeFile::parse(file, Path::new("blvm.toml")).unwrap().limits_of(&manifest)
    }

    #[test]
    fn who_asks_for_nothing_gets_what_the_operator_allows() {
        let granted = limits("", Sandbox::default());
        assert_eq!((granted.cpu_percent, granted.memory_bytes, granted.open_files), (50, 512 << 20, 256));
        assert_eq!(granted.stop_deadline, Duration::from_secs(10));
        assert!(granted.listen.is_empty() && granted.connect.is_empty() && granted.cut.is_empty());
        let file = "[module_resource_limits]\ndefault_max_cpu_percent = 20\nstop_deadline_ms = 1500\n";
        let granted = limits(file, Sandbox::default());
        assert_eq!((granted.cpu_percent, granted.stop_deadline), (20, Duration::from_millis(1500)));
        assert_eq!(granted.log_level, LogLevel::Info);
        let file = "[modules.pool.limits]\nlog_level = \"trace\"\n[module_resource_limits]\ndefault_log_level = \"warn\"\n";
        assert_eq!(limits(file, Sandbox::default()).log_level, LogLevel::Trace);
    }

    #[test]
    fn a_module_gets_what_it_asks_for_up_to_what_the_operator_allows() {
        let asks = Sandbox {
            listen: vec![3333, 3334],
            connect: vec![443],
            memory_mb: Some(512),
            open_files: Some(2000),
            cpu_percent: Some(10),
        };
        let granted = limits("", asks.clone());
        assert_eq!((granted.cpu_percent, granted.memory_bytes, granted.open_files), (10, 512 << 20, 256));
        assert_eq!((granted.listen, granted.connect), (vec![3333, 3334], vec![443]));
        assert_eq!(granted.cut, ["open_files"]);
        let file = "[modules.pool.limits]\nmax_file_descriptors = 3000\nmax_memory_bytes = 536870911\nlisten = [3334, 9]\nconnect = []\n";
        let granted = limits(file, asks);
        assert_eq!((granted.memory_bytes, granted.open_files), ((512 << 20) - 1, 2000));
        assert_eq!((granted.listen, granted.connect), (vec![3334], vec![]));
        assert_eq!(granted.cut, ["memory_mb", "listen", "connect"]);
    }
}
