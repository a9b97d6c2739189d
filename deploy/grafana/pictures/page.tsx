// A dashboard as Grafana draws it: its rows and panels at their `gridPos`, by Grafana's own components.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import {
  applyNullInsertThreshold,
  createTheme,
  type DataFrame,
  dateTime,
  FieldColorModeId,
  type FieldConfig,
  FieldType,
  getDisplayProcessor,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type GrafanaTheme2,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  type TimeRange,
  transformDataFrame,
} from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { LegendDisplayMode, VizOrientation } from '@grafana/schema';
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { type JSX, useEffect, useMemo } from 'react';
import { createRoot } from 'react-dom/client';
import { type Answer, frames, type Target } from './frames';

interface Panel {
  id: number;
  type: string;
  title: string;
  description: string;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: FieldConfig; overrides: [] };
  targets: Target[];
  options: any;
  transformations?: any[];
}

/** What the driver puts into page.json: a dashboard, times and each panel's step in seconds, and an answer for each query. */
interface Page {
  dashboard: { title: string; panels: Panel[] };
  variables: Record<string, string>;
  start: number;
  end: number;
  steps: Record<string, number>;
  answers: Record<string, Record<string, Answer>>;
  note: string;
}

interface Drawn {
  panel: Panel;
  data: DataFrame[];
  range: TimeRange;
  theme: GrafanaTheme2;
  width: number;
  height: number;
}

const MARGIN = 16;
const GAP = 8; // between panels; a unit of height is 30 pixels: both as in Grafana
const UNIT = 30;
const HEAD = 56;
const COLUMNS = 24;
const ZONE = 'utc';

const DRAW: Record<string, (drawn: Drawn) => JSX.Element> = { stat: Stat, timeseries: Lines, table: Rows };

function Stat({ panel, data, theme, width, height }: Drawn) {
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data,
    timeZone: ZONE,
  });
  return (
    <VizRepeater
      source={data}
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderCounter={1}
      orientation={VizOrientation.Auto}
      autoGrid
      width={width}
      height={height}
      renderValue={(each) => (
        <BigValue
          value={{ ...each.value.display, title: values.length > 1 ? each.value.display.title : undefined }}
          count={each.count}
          alignmentFactors={each.alignmentFactors}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          width={each.width}
          height={each.height}
          theme={theme}
        />
      )}
    />
  );
}

/** Gaps where a sample is missing or is no number, which Grafana's panel makes before it hands its data on. */
function withGaps(frame: DataFrame, range: TimeRange): DataFrame {
  const [min, max] = [range.from.valueOf(), range.to.valueOf()];
  const filled = applyNullInsertThreshold({ frame, refFieldPseudoMin: min, refFieldPseudoMax: max });
  const finite = (value: unknown) => (Number.isFinite(value) ? value : null);
  return { ...filled, fields: filled.fields.map((field) => ({ ...field, values: field.values.map(finite) })) };
}

function Lines({ panel, data, range, width, height }: Drawn) {
  const frames = useMemo(() => data.map((frame) => withGaps(frame, range)), [data, range]);
  const legend = { ...panel.options.legend, showLegend: true, calcs: [], displayMode: LegendDisplayMode.List };
  return <TimeSeries frames={frames} timeRange={range} timeZone={ZONE} legend={legend} width={width} height={height} />;
}

function Rows({ data, width, height }: Drawn) {
  return <TableNG data={data[0]} width={width} height={height} structureRev={1} />;
}

/** Each field with its panel's settings, as Grafana's "apply field overrides" leaves it where there are no overrides. */
function dressed(panel: Panel, data: DataFrame[], theme: GrafanaTheme2): DataFrame[] {
  const color = { mode: panel.type === 'timeseries' ? FieldColorModeId.PaletteClassic : FieldColorModeId.Thresholds };
  let seriesIndex = 0;
  return data.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => {
      const settings = field.type === FieldType.number ? { ...panel.fieldConfig.defaults, color } : {};
      const mine = { ...field, config: { ...settings, ...field.config }, state: {} };
      if (field.type === FieldType.number) {
        mine.state = { seriesIndex: seriesIndex++ };
      }
      mine.display = getDisplayProcessor({ field: mine, theme, timeZone: ZONE });
      return mine;
    }),
  }));
}

function Dashboard({ page, theme, tables }: { page: Page; theme: GrafanaTheme2; tables: Map<number, DataFrame[]> }) {
  const [from, to] = [dateTime(page.start * 1000), dateTime(page.end * 1000)];
  const range = { from, to, raw: { from, to } };
  const column = (window.innerWidth - 2 * MARGIN + GAP) / COLUMNS;
  const clock = (seconds: number) => new Date(seconds * 1000).toISOString().slice(11, 16);
  return (
    <div style={{ position: 'relative', background: theme.colors.background.canvas, minHeight: '100vh' }}>
      <div style={{ height: HEAD, padding: `0 ${MARGIN}px`, display: 'flex', alignItems: 'center', gap: 24 }}>
        <span style={{ ...theme.typography.h4, margin: 0 }}>{page.dashboard.title}</span>
        {Object.entries(page.variables).map(([name, value]) => (
          <span key={name}>
            <span style={{ color: theme.colors.text.secondary }}>{name}</span> {value}
          </span>
        ))}
        <span>
          {new Date(page.start * 1000).toISOString().slice(0, 10)}, {clock(page.start)} to {clock(page.end)} UTC
        </span>
        <span style={{ marginLeft: 'auto', color: theme.colors.text.secondary }}>{page.note}</span>
      </div>
      {page.dashboard.panels.map((panel) => {
        const { x, y, w, h } = panel.gridPos;
        const width = Math.floor(w * column - GAP);
        const height = h * (UNIT + GAP) - GAP;
        const style = { position: 'absolute', left: MARGIN + x * column, top: HEAD + y * (UNIT + GAP), width, height } as const;
        const data = tables.get(panel.id) ?? [];
        if (panel.type === 'row') {
          return (
            <div key={panel.id} style={{ ...style, ...theme.typography.h5, lineHeight: `${UNIT}px` }}>
              {panel.title}
            </div>
          );
        }
        const Draw = DRAW[panel.type];
        return (
          <div key={panel.id} style={style}>
            <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
              {(innerWidth, innerHeight) =>
                data.some((frame) => frame.length) ? (
                  <Draw {...{ panel, data, range, theme }} width={innerWidth} height={innerHeight} />
                ) : (
                  <div style={{ color: theme.colors.text.secondary, textAlign: 'center', paddingTop: innerHeight / 2 - 20 }}>
                    No data
                  </div>
                )
              }
            </PanelChrome>
          </div>
        );
      })}
    </div>
  );
}

/** The frames of each panel by its number, transformed as the panel says. Raises where a kind or transformation is new. */
async function framesOf(page: Page, theme: GrafanaTheme2): Promise<Map<number, DataFrame[]>> {
  const made = new Map<number, DataFrame[]>();
  for (const panel of page.dashboard.panels) {
    if (panel.type === 'row') {
      continue;
    }
    const unknown = (panel.transformations ?? []).filter(({ id }) => !standardTransformersRegistry.getIfExists(id));
    if (!DRAW[panel.type] || unknown.length) {
      throw new Error(`${panel.title}: ${panel.type} ${unknown.map(({ id }) => id)} is none that page.tsx draws`);
    }
    const came = panel.targets.flatMap((target) => frames(target, page.answers[panel.id][target.refId], page.steps[panel.id] * 1000));
    const changed = await new Promise<DataFrame[]>((done) => {
      transformDataFrame(panel.transformations ?? [], came).subscribe(done);
    });
    made.set(panel.id, dressed(panel, changed, theme));
  }
  return made;
}

function Whole(props: Parameters<typeof Dashboard>[0]) {
  useEffect(() => say('drawn'), []);
  return (
    <ThemeContext.Provider value={props.theme}>
      <GlobalStyles />
      <Dashboard {...props} />
    </ThemeContext.Provider>
  );
}

/** To the driver: `drawn`, or what went wrong. */
function say(what: string) {
  void fetch('said', { method: 'POST', body: what });
}

async function main() {
  const organize = standardTransformers.organizeFieldsTransformer;
  standardTransformersRegistry.setInit(() => [{ ...organize, transformation: async () => organize } as any]);
  await initPluginTranslations('sealstream');
  const theme = createTheme({ colors: { mode: 'dark' } });
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 12px Inter`))); // charts measure it once
  const page: Page = await (await fetch('page.json')).json();
  const tables = await framesOf(page, theme);
  createRoot(document.getElementById('page')!).render(<Whole {...{ page, theme, tables }} />);
}

window.addEventListener('error', (event) => say(String(event.error?.stack ?? event.message)));
main().catch((error) => say(String(error?.stack ?? error)));
