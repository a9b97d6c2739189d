{{/* `root`, `instance`, `told`, `toml`, `restart`: the pod of a process or a job. */}}
{{- define "sealstream.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $instance := .instance -}}
{{- $told := .told -}}
{{- $files := include "sealstream.files" . | fromJson -}}
{{- $keys := dict -}}
{{- $others := dict -}}
{{- range $name, $file := $files -}}
{{- $_ := set (regexMatch "^chains\\..*\\.key_file$" $name | ternary $keys $others) $name $file -}}
{{- end -}}
{{- with $instance.outbox -}}
{{- $_ := set $others "outbox-dsn" (index $values.processes "outbox-relay" "outboxes" . "dsn") -}}
{{- end -}}
{{- $mounts := mergeOverwrite (deepCopy $values.mounts) (deepCopy ($told.mounts | default dict)) -}}
metadata:
  labels:
    {{- include "sealstream.labels" . | nindent 4 }}
    {{- with mergeOverwrite (deepCopy $values.podLabels) (deepCopy ($told.podLabels | default dict)) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/settings: {{ .toml | sha256sum }}
    {{- with mergeOverwrite (deepCopy $values.podAnnotations) (deepCopy ($told.podAnnotations | default dict)) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "sealstream.named" (dict "root" $root "of" $instance.kind) }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  # Each ends by itself within ten seconds of SIGTERM.
  terminationGracePeriodSeconds: 30
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $told.priorityClassName | default $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $told.nodeSelector | default $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $told.tolerations | default $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $told.affinity | default $values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and $values.topologySpread (gt (int ($told.replicas | default 1)) 1) }}
  topologySpreadConstraints:
    {{- range $values.topologySpread }}
    - labelSelector:
        matchLabels:
          {{- include "sealstream.selector" (dict "root" $root "instance" $instance) | nindent 10 }}
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ int64 $values.user }}
    runAsGroup: {{ int64 $values.user }}
    fsGroup: {{ int64 $values.user }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- if $keys }}
  # A Secret's files belong to root and are read through their group; a signing key must be its owner's alone.
  initContainers:
    - name: signing-key
      image: {{ include "sealstream.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: [install, --mode=0600]
      args:
        {{- range $name, $_ := $keys }}
        - /run/sealstream/secret/{{ $name }}
        {{- end }}
        - --target-directory=/run/sealstream/signing
      securityContext: {{- include "sealstream.confined" $root | nindent 8 }}
      resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 64Mi}}
      volumeMounts:
        - {name: secret, mountPath: /run/sealstream/secret, readOnly: true}
        - {name: signing, mountPath: /run/sealstream/signing}
  {{- end }}
  containers:
    - name: {{ $instance.kind }}
      image: {{ include "sealstream.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{- include "sealstream.args" . | fromJsonArray | toYaml | nindent 8 }}
      env:
        - {name: SEALSTREAM_CONFIG, value: /etc/sealstream/sealstream.toml}
        - {name: HOME, value: /var/lib/sealstream}
        - {name: XDG_STATE_HOME, value: /var/lib/sealstream}
        {{- if $instance.outbox }}
        - {name: SEALSTREAM_OUTBOX_DSN_FILE, value: /run/sealstream/files/outbox-dsn}
        {{- end }}
      {{- include "sealstream.probes" . | nindent 6 }}
      securityContext: {{- include "sealstream.confined" $root | nindent 8 }}
      resources: {{- toYaml $told.resources | nindent 8 }}
      volumeMounts:
        - {name: settings, mountPath: /etc/sealstream/sealstream.toml, subPath: sealstream.toml, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        - {name: home, mountPath: /var/lib/sealstream}
        {{- if eq $instance.kind "serve" }}
        - {name: verifications, mountPath: /etc/sealstream/verifications}
        {{- end }}
        {{- if $others }}
        - {name: files, mountPath: /run/sealstream/files, readOnly: true}
        {{- end }}
        {{- if $keys }}
        - {name: signing, mountPath: /run/sealstream/signing, readOnly: true}
        {{- end }}
        {{- range $name, $_ := $mounts }}
        - {name: mount-{{ $name }}, mountPath: /run/sealstream/mounts/{{ $name }}, readOnly: true}
        {{- end }}
  volumes:
    - name: settings
      configMap: {name: {{ include "sealstream.named" (dict "root" $root "of" $instance.of) }}}
    - name: tmp
      emptyDir: {sizeLimit: {{ $values.tmpSize }}}
    - name: home
      {{- if and (eq $instance.kind "verify") $told.stateClaim }}
      persistentVolumeClaim: {claimName: {{ $told.stateClaim }}}
      {{- else }}
      emptyDir: {sizeLimit: 64Mi}
      {{- end }}
    {{- if eq $instance.kind "serve" }}
    - name: verifications
      emptyDir: {sizeLimit: 64Mi}
    {{- end }}
    {{- if $others }}
    - name: files
      projected:
        defaultMode: 0440
        sources: {{- include "sealstream.sources" $others | nindent 10 }}
    {{- end }}
    {{- if $keys }}
    - name: secret
      projected:
        defaultMode: 0440
        sources: {{- include "sealstream.sources" $keys | nindent 10 }}
    - name: signing
      emptyDir: {medium: Memory, sizeLimit: 1Mi}
    {{- end }}
    {{- range $name, $mount := $mounts }}
    - name: mount-{{ $name }}
      {{- if $mount.secret }}
      secret: {secretName: {{ $mount.secret }}, defaultMode: 0440}
      {{- else }}
      configMap: {name: {{ $mount.configMap }}}
      {{- end }}
    {{- end }}
{{- end -}}

{{- define "sealstream.confined" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Files, by what each is called: the sources of a projected volume. */}}
{{- define "sealstream.sources" -}}
{{- range $name, $file := . }}
- {{ $file.secret | empty | ternary "configMap" "secret" }}:
    name: {{ $file.secret | default $file.configMap }}
    items: [{key: {{ $file.key | quote }}, path: {{ $name | quote }}}]
{{- end }}
{{- end -}}

{{- define "sealstream.args" -}}
{{- $args := .instance.args -}}
{{- if and (not .restart) (not .instance.unmeasured) -}}
{{- $args = concat $args (list "--metrics-port" (toString .root.Values.metrics.port)) -}}
{{- end -}}
{{- toJson $args -}}
{{- end -}}

{{/* Ports and probes of a process. A job has none: it ends. */}}
{{- define "sealstream.probes" -}}
{{- if not .restart -}}
{{- $ports := list -}}
{{- $port := "metrics" -}}
{{- $scheme := "HTTP" -}}
{{- with .instance.port -}}
{{- $ports = append $ports (dict "name" "http" "containerPort" .) -}}
{{- end -}}
{{- if .instance.unmeasured -}}
{{- $port = "http" -}}
{{- if hasKey (include "sealstream.files" . | fromJson) (printf "%s.tls_cert" .instance.kind) -}}
{{- $scheme = "HTTPS" -}}
{{- end -}}
{{- else -}}
{{- $ports = append $ports (dict "name" "metrics" "containerPort" (int .root.Values.metrics.port)) -}}
{{- end -}}
ports: {{- toYaml $ports | nindent 2 }}
# It answers as soon as it runs; taking its place, which may last as long as a chain is, is being alive.
startupProbe:
  httpGet: {path: /healthz, port: {{ $port }}, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 24
livenessProbe:
  httpGet: {path: /healthz, port: {{ $port }}, scheme: {{ $scheme }}}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ $port }}, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}
{{- end -}}
