//! Groups of documents as a picture: a disc for each group, a dot for each document, those nearest to the middle of a group
//! in the middle of its disc, and the words of the group below. Discs stand in rows, so that nothing lies upon another.

use std::fmt::Write;

use crate::knowledge::{Cluster, Clusters};

/// More groups than this make no picture that anybody can read.
const MOST: usize = 60;
const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 24.0;
const CELL: f64 = 200.0;
const LINE: f64 = 16.0;
/// Characters of a line below a disc, by the width of a wide letter.
const LINE_CHARS: usize = 26;
const LABEL_LINES: usize = 2;
/// From a dot to the next, and what a large group shrinks its disc to.
const STEP: f64 = 9.0;
const MOST_RADIUS: f64 = 280.0;
/// Turns from dot to dot, so that they never stand in spokes.
const GOLDEN_ANGLE: f64 = 2.399_963_229_728_653;

/// Ground and dots; each disc has its own ground, so that it is readable on light and dark.
const COLOURS: [(&str, &str); 6] = [
    ("#dbeafe", "#1d4ed8"),
    ("#dcfce7", "#15803d"),
    ("#ede9fe", "#6d28d9"),
    ("#fef3c7", "#b45309"),
    ("#fee2e2", "#b91c1c"),
    ("#e0f2f1", "#00695c"),
];

/// The picture, as a whole SVG file.
pub fn svg(clusters: &Clusters) -> String {
    let shown = clusters.items.get(..MOST).unwrap_or(&clusters.items);
    let mut body = String::new();
    let mut y = MARGIN;
    let mut width = WIDTH;
    let mut colours = COLOURS.iter().cycle();
    for row in rows(shown) {
        let height = row.iter().map(|cluster| 2.0 * radius(cluster)).fold(0.0, f64::max);
        let mut x = MARGIN;
        for cluster in row {
            let cell = cell(cluster);
            if let Some(colour) = colours.next() {
                disc(&mut body, cluster, (x + cell / 2.0, y + height / 2.0), *colour);
                caption(&mut body, cluster, (x + cell / 2.0, y + height + LINE));
            }
            x += cell + GAP;
        }
        width = width.max(x - GAP + MARGIN);
        y += height + LINE * (LABEL_LINES as f64 + 1.0) + GAP;
    }
    let more = clusters.items.len() - shown.len();
    let note = if more > 0 { format!("; {more} more groups are not shown") } else { String::new() };
    let _ = writeln!(
        body,
        "<text x=\"{MARGIN}\" y=\"{:.0}\" fill=\"#555\" font-size=\"10\">{}{note}</text>",
        y,
        escaped(&clusters.method)
    );
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Documents by what they are about</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fafafa\"/>\n\
         {body}</svg>\n"
    )
}

/// Groups that fit beside each other.
fn rows(clusters: &[Cluster]) -> Vec<Vec<&Cluster>> {
    let mut rows: Vec<Vec<&Cluster>> = Vec::new();
    let mut used = 0.0;
    for cluster in clusters {
        let wide = cell(cluster) + GAP;
        match rows.last_mut().filter(|_| used + wide <= WIDTH - 2.0 * MARGIN + GAP) {
            Some(row) => row.push(cluster),
            None => {
                rows.push(vec![cluster]);
                used = 0.0;
            }
        }
        used += wide;
    }
    rows
}

fn cell(cluster: &Cluster) -> f64 {
    (2.0 * radius(cluster)).max(CELL)
}

/// From a dot to the next.
fn step(cluster: &Cluster) -> f64 {
    STEP.min((MOST_RADIUS - STEP) / (cluster.documents.len().max(1) as f64).sqrt())
}

fn radius(cluster: &Cluster) -> f64 {
    step(cluster) * (cluster.documents.len() as f64).sqrt() + STEP
}

fn disc(body: &mut String, cluster: &Cluster, (x, y): (f64, f64), (ground, dot): (&str, &str)) {
    let step = step(cluster);
    let _ = writeln!(
        body,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{:.1}\" fill=\"{ground}\" stroke=\"{dot}\" stroke-opacity=\"0.4\"/>",
        radius(cluster)
    );
    let _ = write!(body, "<g fill=\"{dot}\" fill-opacity=\"0.75\">");
    for (place, document) in cluster.documents.iter().enumerate() {
        let far = step * (place as f64 + 0.5).sqrt();
        let (sine, cosine) = (place as f64 * GOLDEN_ANGLE).sin_cos();
        let name = if document.title.is_empty() { &document.source } else { &document.title };
        let _ = write!(
            body,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"><title>{}, likeness {:.2}</title></circle>",
            x + far * cosine,
            y + far * sine,
            step * 0.42,
            escaped(name),
            document.likeness
        );
    }
    body.push_str("</g>\n");
}

fn caption(body: &mut String, cluster: &Cluster, (x, y): (f64, f64)) {
    let label = if cluster.label.is_empty() { "(no words)" } else { &cluster.label };
    let lines = lines(label);
    let mut y = y;
    for line in &lines {
        let line = escaped(line);
        let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#111\">{line}</text>");
        y += LINE;
    }
    let count = cluster.documents.len();
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#555\" font-size=\"10\">{count} {}, cohesion {:.2}\
         </text>",
        if count == 1 { "document" } else { "documents" },
        cluster.cohesion
    );
}

/// A label in at most so many lines as stand below a disc; marked where it was cut.
fn lines(label: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in label.split_whitespace().map(shortened) {
        let is_full = lines.len() == LABEL_LINES;
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE_CHARS => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(line) if is_full => {
                if !line.ends_with('…') {
                    line.push('…');
                }
                break;
            }
            _ => lines.push(word),
        }
    }
    lines
}

fn shortened(word: &str) -> String {
    if word.chars().count() <= LINE_CHARS {
        return word.to_owned();
    }
    word.chars().take(LINE_CHARS - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => all.push_str("&amp;"),
            '<' => all.push_str("&lt;"),
            '>' => all.push_str("&gt;"),
            '"' => all.push_str("&quot;"),
            // Not allowed in XML at all.
            '\u{fffe}' | '\u{ffff}' => {}
            c => all.push(c),
        }
    }
    all
}
