{{- /* What the Prometheus operator and Grafana's sidecar look for. The admin port of a pod has the metrics of all its processes. */ -}}
{{- define "chassis.serviceMonitor" -}}
{{- $monitor := .Values.metrics.serviceMonitor -}}
{{- if $monitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) $monitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
  endpoints:
    - {{- include "chassis.scraped" $monitor | nindent 6 }}
{{- end }}
{{- end }}

{{- define "chassis.podMonitor" -}}
{{- $monitor := .Values.metrics.podMonitor -}}
{{- if $monitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.fullname" .) $monitor.labels) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "server") | nindent 6 }}
  podMetricsEndpoints:
    - {{- include "chassis.scraped" $monitor | nindent 6 }}
{{- end }}
{{- end }}

{{- define "chassis.scraped" -}}
port: admin
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- end }}

{{- /* chassis.rules: the chart's files/rules/*.yaml, which are rule files as Prometheus itself reads them */ -}}
{{- define "chassis.rules" -}}
{{- if .Values.metrics.rules.enabled -}}
{{- range $path, $_ := .Files.Glob "files/rules/*.yaml" }}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  {{- $name := include "chassis.fileName" (list $ $path) }}
  {{- include "chassis.metadata" (list $ "server" $name $.Values.metrics.rules.labels) | nindent 2 }}
spec:
  {{- $.Files.Get $path | replace "docs/runbook.md" ($.Values.metrics.rules.runbookUrl | default "docs/runbook.md") | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.dashboards: the chart's files/dashboards/*.json */ -}}
{{- define "chassis.dashboards" -}}
{{- $dashboards := .Values.metrics.dashboards -}}
{{- if $dashboards.enabled -}}
{{- range $path, $_ := .Files.Glob "files/dashboards/*.json" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "chassis.metadata" (list $ "server" (include "chassis.fileName" (list $ $path)) $dashboards.labels) | nindent 2 }}
  {{- with $dashboards.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
data:
  {{ printf "%s-%s" $.Chart.Name (base $path) }}: |-
    {{- $.Files.Get $path | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* chassis.fileName (list CONTEXT PATH): the name of the object that holds a file of the chart */ -}}
{{- define "chassis.fileName" -}}
{{- $file := base (index . 1) | trimSuffix (ext (index . 1)) | lower | replace "_" "-" -}}
{{ printf "%s-%s" (include "chassis.fullname" (index . 0)) $file }}
{{- end }}
