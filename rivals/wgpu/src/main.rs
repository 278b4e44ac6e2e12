//! Empty compute dispatches through wgpu, one in each submission and 1,000 in each, on the device that vyre ran on.
//!
//! `vyre-rival-wgpu ENGINE SAMPLES MILLISECONDS` prints one JSON object in the shape of `vyre bench --json`: `engine`, and `tables` of
//! `title`, `unit`, `columns` and `rows` of `name` and `values`. `ENGINE` is the `engine` of a report of vyre's, which starts with the
//! device's name.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use wgpu::{Adapter, Backends, ComputePipeline, Device, Instance, InstanceDescriptor, PollType, Queue};

type Failure = Box<dyn std::error::Error>;

/// Dispatches of a large submission, as many as `vyre bench throughput` records in its rival's command buffer.
const RECORDED: u32 = 1000;

/// Rates that are measured, to tell their median.
const RATES: usize = 5;

/// Does nothing, as a NOP does.
const SHADER: &str = "@compute @workgroup_size(1) fn main() {}";

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vyre-rival-wgpu: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<serde_json::Value, Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [engine, samples, milliseconds] = arguments.as_slice() else {
        return Err("usage: vyre-rival-wgpu ENGINE SAMPLES MILLISECONDS; `cargo xtask rivals` gives them".into());
    };
    let (samples, time) = (samples.parse::<usize>()?.max(1), Duration::from_millis(milliseconds.parse()?));
    let adapter = adapter(engine)?;
    let rival = Rival::new(&adapter)?;
    rival.round_trips(samples / 10 + 1)?;
    let mut durations = rival.round_trips(samples)?;
    durations.sort();
    let quantile = |share: f64| durations[((samples - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let quantiles = [0.0, 0.5, 0.99, 0.999, 1.0].map(quantile);
    let mut rates = (0..RATES).map(|_| rival.rate(time)).collect::<Result<Vec<_>, _>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(json!({
        "bench": "wgpu",
        "engine": adapter.get_info().name,
        "tables": [
            {
                "title": "round trip of an empty dispatch",
                "unit": "us",
                "columns": ["min", "p50", "p99", "p99.9", "max"],
                "rows": [{ "name": "wgpu, submit + poll", "values": quantiles }],
            },
            {
                "title": "empty dispatches",
                "unit": "1/s",
                "columns": ["median", "min", "max"],
                "rows": [{
                    "name": format!("wgpu, {RECORDED} in a pass"),
                    "values": [rates[RATES / 2], rates[0], rates[RATES - 1]],
                }],
            },
        ],
    }))
}

/// The adapter with whose name the engine's text starts.
fn adapter(engine: &str) -> Result<Adapter, Failure> {
    let vulkan = InstanceDescriptor { backends: Backends::VULKAN, ..InstanceDescriptor::new_without_display_handle() };
    let adapters = pollster::block_on(Instance::new(vulkan).enumerate_adapters(Backends::VULKAN));
    let names: Vec<_> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let place = names.iter().position(|name| engine.starts_with(name.as_str()));
    place.and_then(|place| adapters.into_iter().nth(place)).ok_or_else(|| {
        format!("no Vulkan device for '{engine}' among: {}; name one of them by --device", names.join(", ")).into()
    })
}

struct Rival {
    device: Device,
    queue: Queue,
    pipeline: ComputePipeline,
}

impl Rival {
    fn new(adapter: &Adapter) -> Result<Rival, Failure> {
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
        let source = wgpu::ShaderSource::Wgsl(SHADER.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Ok(Rival { device, queue, pipeline })
    }

    /// Encodes that many dispatches in one pass, submits them and waits: wgpu's command buffers can be submitted once only.
    fn submit(&self, dispatches: u32) -> Result<(), Failure> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            for _ in 0..dispatches {
                pass.dispatch_workgroups(1, 1, 1);
            }
        }
        self.queue.submit([encoder.finish()]);
        self.device.poll(PollType::wait_indefinitely())?;
        Ok(())
    }

    /// From before the encoding to after the wait.
    fn round_trips(&self, samples: usize) -> Result<Vec<Duration>, Failure> {
        let one = |_| {
            let start = Instant::now();
            self.submit(1)?;
            Ok(start.elapsed())
        };
        (0..samples).map(one).collect()
    }

    /// Dispatches per second.
    fn rate(&self, time: Duration) -> Result<f64, Failure> {
        let (start, mut submissions) = (Instant::now(), 0);
        while start.elapsed() < time {
            self.submit(RECORDED)?;
            submissions += 1;
        }
        Ok(f64::from(submissions * RECORDED) / start.elapsed().as_secs_f64())
    }
}
