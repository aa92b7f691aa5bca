//! What the system says of this process.

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Zero stands for what the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Processor time used.
    pub cpu_seconds: f64,
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Open files and sockets.
    pub open_files: usize,
    /// Most of them that may be open.
    pub open_files_max: u64,
}

/// Measures now.
pub fn measure() -> Process {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "exact for as long as a process lives")]
    let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    Process {
        cpu_seconds,
        resident_bytes: resident_bytes().unwrap_or(0),
        open_files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
        open_files_max: getrlimit(Resource::Nofile).current.unwrap_or(0),
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory_files_and_time() {
        let Process { cpu_seconds, resident_bytes, open_files, open_files_max } = measure();
        assert!(cpu_seconds > 0.0 && resident_bytes > 1024 * 1024);
        assert!(open_files > 2 && open_files_max > 2);
    }
}
