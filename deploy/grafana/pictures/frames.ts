// What Prometheus answers, as the data frames that Grafana's own Prometheus source makes of it.
import { type DataFrame, FieldType, type Labels, toDataFrame } from '@grafana/data';

export interface Target {
  refId: string;
  legendFormat: string;
  format: 'time_series' | 'table';
}

/** `data` of an answer of /api/v1/query_range (`values`) or /api/v1/query (`value`); times in seconds. */
export interface Answer {
  result: { metric: Labels; value?: [number, string]; values?: [number, string][] }[];
}

/** A frame for each series; for a table one frame with a column for each label, and none where nothing came. */
export function frames(target: Target, answer: Answer, stepMs: number): DataFrame[] {
  return target.format === 'table' ? table(answer) : answer.result.map((series) => line(target, series, stepMs));
}

function line(target: Target, series: Answer['result'][number], stepMs: number): DataFrame {
  const values = series.values ?? (series.value ? [series.value] : []);
  const name = legend(target.legendFormat, series.metric);
  return toDataFrame({
    refId: target.refId,
    name,
    fields: [
      // `interval` is by what a panel knows a gap
      { name: 'Time', type: FieldType.time, config: { interval: stepMs }, values: values.map(([at]) => at * 1000) },
      { name: 'Value', type: FieldType.number, config: { displayNameFromDS: name }, values: values.map(number) },
    ],
  });
}

function table(answer: Answer): DataFrame[] {
  const labels = [...new Set(answer.result.flatMap((row) => Object.keys(row.metric)))].sort();
  if (!answer.result.length) {
    return [];
  }
  const rows = answer.result.map((row) => row.value ?? [NaN, 'NaN'] as [number, string]);
  return [
    toDataFrame({
      fields: [
        { name: 'Time', type: FieldType.time, config: {}, values: rows.map(([at]) => at * 1000) },
        ...labels.map((label) => ({
          name: label,
          type: FieldType.string,
          config: {},
          values: answer.result.map((row) => row.metric[label] ?? ''),
        })),
        { name: 'Value', type: FieldType.number, config: {}, values: rows.map(number) },
      ],
    }),
  ];
}

const number = ([, text]: [number, string]) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text));

function legend(format: string, metric: Labels): string {
  if (format !== '__auto') {
    return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => metric[label] ?? '');
  }
  const pairs = Object.entries(metric).map(([label, value]) => `${label}="${value}"`);
  return pairs.length ? `{${pairs.join(', ')}}` : 'Value';
}
