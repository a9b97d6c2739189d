{{/* `root`, `kind`, `is`, `told`: who may reach the pods of one kind, and whom they may reach. */}}
{{- define "sealstream.reaches" -}}
{{- $root := .root -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $is := .is -}}
policyTypes: [Ingress, Egress]
podSelector:
  matchLabels:
    app.kubernetes.io/name: {{ include "sealstream.name" $root }}
    app.kubernetes.io/instance: {{ $root.Release.Name }}
    app.kubernetes.io/component: {{ .kind }}
ingress:
  {{- if not (or $is.unmeasured .ends) }}
  - from:
      {{- $policy.scrapers | default (list (dict "podSelector" dict)) | toYaml | nindent 6 }}
      {{- if $policy.scrapers }}
      - podSelector:
          matchLabels:
            app.kubernetes.io/name: {{ include "sealstream.name" $root }}
            app.kubernetes.io/instance: {{ $root.Release.Name }}
            app.kubernetes.io/component: watch
      {{- end }}
    ports: [{protocol: TCP, port: {{ int $root.Values.metrics.port }}}]
  {{- end }}
  {{- with $is.port }}
  - from:
      {{- index $policy (printf "%sFrom" $.kind) | default (list (dict "podSelector" dict)) | toYaml | nindent 6 }}
    ports: [{protocol: TCP, port: {{ . }}}]
  {{- end }}
  {{- if and (or $is.unmeasured .ends) (not $is.port) }} []
  {{- end }}
egress:
  - {{- with $policy.dns.to }}
    to: {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      {{- range $policy.dns.ports }}
      - {protocol: UDP, port: {{ int . }}}
      - {protocol: TCP, port: {{ int . }}}
      {{- end }}
  {{- range $need := $is.needs }}
  {{- if eq $need "metrics" }}
  - to:
      - podSelector:
          matchLabels:
            app.kubernetes.io/name: {{ include "sealstream.name" $root }}
            app.kubernetes.io/instance: {{ $root.Release.Name }}
    ports: [{protocol: TCP, port: {{ int $root.Values.metrics.port }}}]
  {{- else if or (ne $need "archive") (include "sealstream.archives" $root) }}
  {{- include "sealstream.towards" (dict "peers" (index $policy $need) "ports" (include "sealstream.ports" (dict "root" $root "need" $need) | fromJsonArray)) | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- if or (eq (($root.Values.settings.kafka | default dict).sasl_mechanism | default "" | upper) "OAUTHBEARER") (.told.serviceAccount.annotations) }}
  {{- include "sealstream.towards" (dict "peers" $policy.tokens "ports" $policy.tokens.ports) | nindent 2 }}
  {{- end }}
  {{- if and (has .kind (list "sequencer" "postgres-sink")) ($root.Values.settings.tracing | default dict).endpoint }}
  {{- include "sealstream.towards" (dict "peers" $policy.traces "ports" $policy.traces.ports) | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sealstream.towards" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  {{- with .peers.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* `root`, `need`: the ports; Kafka's are those of the addresses that it is found at. */}}
{{- define "sealstream.ports" -}}
{{- $ports := index .root.Values.networkPolicy .need "ports" -}}
{{- if and (eq .need "kafka") (not $ports) -}}
{{- range splitList "," ((.root.Values.settings.kafka | default dict).bootstrap | default "127.0.0.1:19092") -}}
{{- $ports = append $ports (last (splitList ":" (trim .)) | int) -}}
{{- end -}}
{{- end -}}
{{- toJson (uniq $ports) -}}
{{- end -}}
