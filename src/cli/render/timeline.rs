//! A picture of statements and locks over time: drawn for a page, in blocks for a terminal.

use super::table::{Tone, Toned, plain};
use super::words::{clean, duration, one_line};
use crate::domain::forecast::{CHANGED_ROWS, Held, Timeline};
use maud::html;

/// Characters of a bar on a terminal.
const CELLS: u64 = 32;

/// Characters of a label.
const LABEL: usize = 46;

/// The page's picture: width of the names, of the chart, of what stands behind it, and the height of a row.
const NAMES: u64 = 310;
const CHART: u64 = 430;
const BEHIND: u64 = 160;
const ROW: u64 = 22;

/// How a lock is drawn: the class on a page, the block on a terminal, how it reads.
fn looks(held: &Held) -> (&'static str, char, Tone) {
    match held.blocks.as_str() {
        "reads and writes" => ("reads", '█', Tone::Bad),
        CHANGED_ROWS => ("rows", '▒', Tone::Odd),
        _ => ("writes", '▓', Tone::Odd),
    }
}

fn short(text: &str) -> String {
    let text = one_line(text);
    if text.chars().count() <= LABEL {
        return text;
    }
    let mut short: String = text.chars().take(LABEL - 1).collect();
    short.push('…');
    short
}

/// The picture with `most` statements and as many locks at most, the longest.
#[must_use]
pub fn brief(timeline: &Timeline, most: usize) -> Timeline {
    let mut brief = timeline.clone();
    let longest = |took: Vec<u64>| -> u64 {
        let mut took = took;
        took.sort_unstable_by_key(|took| std::cmp::Reverse(*took));
        took.get(most).copied().map_or(0, |took| took + 1)
    };
    let act = longest(brief.acts.iter().map(|one| one.to_ms - one.from_ms).collect());
    let lock = longest(brief.held.iter().map(|one| one.to_ms - one.from_ms).collect());
    let before = brief.acts.len() + brief.held.len();
    brief.acts.retain(|one| one.to_ms - one.from_ms >= act);
    brief.held.retain(|one| one.to_ms - one.from_ms >= lock);
    brief.left_out += before - brief.acts.len() - brief.held.len();
    brief
}

/// The rows of the picture for a terminal: what, when, how long. Each bar is as long as the whole, dots where nothing is.
#[must_use]
pub fn rows(timeline: &Timeline) -> Vec<Vec<Toned>> {
    let total = timeline.total_ms.max(1);
    let bar = |from: u64, to: u64, block: char| -> String {
        let from = (from.saturating_mul(CELLS) / total).min(CELLS - 1);
        let to = to.saturating_mul(CELLS).div_ceil(total).clamp(from + 1, CELLS);
        (0..CELLS).map(|at| if (from..to).contains(&at) { block } else { '·' }).collect()
    };
    let acts = timeline.acts.iter().map(|one| {
        vec![
            plain(short(&one.label)),
            plain(bar(one.from_ms, one.to_ms, '━')),
            plain(duration(one.to_ms - one.from_ms)),
        ]
    });
    let held = timeline.held.iter().map(|one| {
        let (_, block, tone) = looks(one);
        vec![
            plain(short(&format!("{} {}", one.object, one.lock))),
            (tone, bar(one.from_ms, one.to_ms, block)),
            plain(format!("{}, {} wait", duration(one.to_ms - one.from_ms), one.blocks)),
        ]
    });
    acts.chain(held).collect()
}

/// What the blocks mean, and what is left out.
#[must_use]
pub fn legend(timeline: &Timeline) -> String {
    let mut legend = format!("0 to {}: ━ statement", duration(timeline.total_ms));
    for (blocks, words) in [
        ("reads and writes", "█ reads and writes wait"),
        ("writes", "▓ writes wait"),
        (CHANGED_ROWS, "▒ writes to changed rows wait"),
    ] {
        if timeline.held.iter().any(|one| one.blocks == blocks) {
            legend = format!("{legend}, {words}");
        }
    }
    if timeline.left_out > 0 {
        legend = format!("{legend}; the {} shortest are left out", timeline.left_out);
    }
    legend
}

/// The picture as text, one line a row, for where nothing can be drawn.
#[must_use]
pub fn text(timeline: &Timeline) -> String {
    let rows = rows(timeline);
    let longest = rows.iter().map(|row| row[0].1.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().map(|row| format!("{:longest$}  {}  {}\n", row[0].1, row[1].1, row[2].1));
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("{lines}{}\n", legend(timeline)) }
}

/// The picture as SVG, coloured by the page it stands in.
#[must_use]
pub fn svg(timeline: &Timeline) -> String {
    let total = timeline.total_ms.max(1);
    let count = (timeline.acts.len() + timeline.held.len()) as u64;
    let bottom = ROW * count + 8;
    let (width, height) = (NAMES + CHART + BEHIND, bottom + 26);
    let x = |ms: u64| NAMES + ms.min(total).saturating_mul(CHART) / total;
    let span = |from: u64, to: u64| (x(from), (x(to) - x(from)).max(2));
    // Each transaction as a band: what is locked in it is held to its end.
    let mut bands: Vec<(usize, u64, u64)> = Vec::new();
    for one in &timeline.acts {
        match bands.last_mut().filter(|band| band.0 == one.transaction) {
            Some(band) => band.2 = one.to_ms,
            None => bands.push((one.transaction, one.from_ms, one.to_ms)),
        }
    }
    let picture = html! {
        svg.timeline viewBox=(format!("0 0 {width} {height}")) role="img" aria-label="Statements and locks over time" {
            @for (_, from, to) in bands.iter().filter(|band| band.0 % 2 == 0) {
                @let (left, wide) = span(*from, *to);
                rect.band x=(left) y="0" width=(wide) height=(bottom) {}
            }
            @for tick in ticks(total) {
                line.tick x1=(x(tick)) y1="0" x2=(x(tick)) y2=(bottom) {}
                text.soft x=(x(tick)) y=(bottom + 17) text-anchor=(if tick == 0 { "start" } else { "middle" }) { (duration(tick)) }
            }
            @for (at, one) in timeline.acts.iter().enumerate() {
                @let (left, wide) = span(one.from_ms, one.to_ms);
                @let top = ROW * at as u64 + 4;
                g {
                    title { (clean(&one.label)) ": " (duration(one.to_ms - one.from_ms)) }
                    text x=(NAMES - 10) y=(top + 12) text-anchor="end" { (clean(&short(&one.label))) }
                    rect.act x=(left) y=(top + 3) width=(wide) height=(ROW - 10) rx="2" {}
                    text.soft x=(NAMES + CHART + 8) y=(top + 12) { (duration(one.to_ms - one.from_ms)) }
                }
            }
            @for (at, one) in timeline.held.iter().enumerate() {
                @let (left, wide) = span(one.from_ms, one.to_ms);
                @let top = ROW * (timeline.acts.len() + at) as u64 + 4;
                g {
                    title { (clean(&one.object)) ", " (clean(&one.lock)) ": " (clean(&one.blocks)) " wait " (duration(one.to_ms - one.from_ms)) }
                    text x=(NAMES - 10) y=(top + 12) text-anchor="end" { (clean(&short(&format!("{} {}", one.object, one.lock)))) }
                    rect.(looks(one).0) x=(left) y=(top + 1) width=(wide) height=(ROW - 6) rx="2" {}
                    text.soft x=(NAMES + CHART + 8) y=(top + 12) {
                        (duration(one.to_ms - one.from_ms)) (if one.blocks == CHANGED_ROWS { ", rows" } else if one.blocks == "writes" { ", writes" } else { ", reads, writes" })
                    }
                }
            }
        }
    };
    picture.into_string()
}

/// A few round times from 0 to `total`.
fn ticks(total: u64) -> Vec<u64> {
    let mut step = 1_u64;
    while total / step > 5 {
        step = match step.to_string().as_bytes()[0] {
            b'1' => step * 2,
            b'2' => step / 2 * 5,
            _ => step * 2,
        };
    }
    (0..=total / step).map(|tick| tick * step).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn sample() -> Timeline {
        testing::good().run.rehearsal.and_then(|rehearsal| rehearsal.timeline).expect("a picture")
    }

    #[test]
    fn the_picture_in_blocks_reads_like_this() {
        insta::assert_snapshot!(text(&sample()), @r"
        0003_add_price:1 alter table orders add colum…  ━·······························  7ms
        0003_add_price:4 alter table orders alter col…  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  798ms
        0004_drop_old_price:1 alter table products dr…  ·······························━  7ms
        public.orders AccessExclusiveLock               ████████████████████████████████  805ms, reads and writes wait
        0 to 812ms: ━ statement, █ reads and writes wait
        ");
    }

    #[test]
    fn the_picture_holds_every_bar_within_its_frame_and_no_markup_of_the_statements() {
        let mut timeline = sample();
        timeline.acts[0].label = "0001:1 select '<script>'".to_owned();
        let picture = svg(&timeline);
        assert_eq!(picture.matches("<rect class=\"act\"").count(), 3);
        assert_eq!(picture.matches("<rect class=\"reads\"").count(), 1);
        assert!(picture.contains("&lt;script&gt;") && !picture.contains("<script"));
        let right = u64::from(u32::try_from(NAMES + CHART).unwrap());
        for part in picture.split("<rect").skip(1) {
            let number = |name: &str| -> u64 {
                part.split(&format!(" {name}=\""))
                    .nth(1)
                    .and_then(|rest| rest.split('"').next())
                    .unwrap()
                    .parse()
                    .unwrap()
            };
            assert!(number("x") >= NAMES && number("x") + number("width") <= right + 2, "{part}");
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(812), [0, 200, 400, 600, 800]);
        assert_eq!(ticks(5), [0, 1, 2, 3, 4, 5]);
        assert_eq!(ticks(61_000), [0, 20_000, 40_000, 60_000]);
        assert_eq!(ticks(1), [0, 1]);
    }
}
