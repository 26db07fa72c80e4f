{{- /*
NOTES.txt contains prose and commands to paste. A command starts with two spaces, and its continuation lines start with
four or more. The tests find the commands by this layout and run them.
*/ -}}

{{- /*
chassis.notes (list CONTEXT...): the notes of a release. The list has the contexts of its services; the example request
goes to the first.
*/ -}}
{{- define "chassis.notes" -}}
{{- $first := first . -}}
{{ include (printf "%s.gettingStarted" (include "chassis.serviceName" $first)) $first }}
{{- range . }}
{{ include "chassis.notes.service" . }}
{{- end }}
{{ include "chassis.notes.uninstall" . }}
{{- end }}

{{- /* chassis.notes.access: commands that forward a port to the service and read an API key */ -}}
{{- define "chassis.notes.access" -}}
{{- $port := (include "chassis.facts" . | fromYaml).port -}}
{{- $kubectl := printf "  kubectl -n %s" .Release.Namespace -}}
{{ $kubectl }} rollout status deployment -l app.kubernetes.io/instance={{ .Release.Name }} --timeout 3m
{{ $kubectl }} port-forward service/{{ include "chassis.fullname" . }} {{ $port }} >/dev/null &
  API_KEY=$(kubectl -n {{ .Release.Namespace }} get secret {{ include "chassis.credentialsSecretName" . }} -o jsonpath='{.data.api-key}' | base64 -d)
{{- end }}

{{- /* chassis.notes.service: what these values install of a service, with commands that show it */ -}}
{{- define "chassis.notes.service" -}}
{{- $name := include "chassis.fullname" . -}}
{{- $kubectl := printf "  kubectl -n %s get" .Release.Namespace -}}
{{- $values := .Values -}}
The {{ include "chassis.serviceName" . }} service is http://{{ $name }}.{{ .Release.Namespace }}:{{ (include "chassis.facts" . | fromYaml).port }} in the cluster.
{{- if $values.postgresql.enabled }} Its database is a single pod without
replicas or backups, for development and evaluation. In production, use your own database (`postgresql.enabled`, `database`).
{{- else }} Its database URL is in the Secret
{{ include "chassis.databaseSecretName" . }}.
{{- end }}
{{- if not $values.networkPolicy.enabled }} No NetworkPolicy restricts its traffic (`networkPolicy.enabled`).
{{- end }}
{{- if $values.ingress.enabled }}

From outside the cluster, an Ingress serves it at {{ range $index, $host := $values.ingress.hosts }}{{ if $index }}, {{ end }}{{ ternary "http" "https" (empty $values.ingress.tls) }}://{{ $host }}{{ $values.ingress.path }}{{ end }}:

{{ $kubectl }} ingress {{ $name }}
{{- end }}
{{- if $values.httpRoute.enabled }}

From outside the cluster, a Gateway serves it{{ with $values.httpRoute.hostnames }} at {{ join ", " . }}{{ end }}:

{{ $kubectl }} httproute {{ $name }}
{{- end }}
{{- if ne $values.service.type "ClusterIP" }}

From outside the cluster, it is reachable through a Service of type {{ $values.service.type }}:

{{ $kubectl }} service {{ $name }}
{{- end }}
{{- if $values.autoscaling.enabled }}

A HorizontalPodAutoscaler runs {{ $values.autoscaling.minReplicas }} to {{ $values.autoscaling.maxReplicas }} pods, depending on the load:

{{ $kubectl }} hpa {{ $name }}
{{- end }}
{{- if include "chassis.podDisruptionBudget" . }}

A drain evicts at most {{ $values.podDisruptionBudget.maxUnavailable }} of its pods at a time:

{{ $kubectl }} pdb {{ $name }}
{{- end }}
{{- range list "serviceMonitor" "podMonitor" }}
{{- if (get $values.metrics .).enabled }}

The Prometheus operator scrapes its metrics:

{{ $kubectl }} {{ lower . }} {{ $name }}
{{- end }}
{{- end }}
{{ end }}

{{- /* chassis.notes.uninstall (list CONTEXT...): how to uninstall the release, and what remains afterwards */ -}}
{{- define "chassis.notes.uninstall" -}}
{{- $release := (first .).Release -}}
{{- $embedded := list -}}
{{- range . }}{{ if .Values.postgresql.enabled }}{{ $embedded = append $embedded (include "chassis.serviceName" .) }}{{ end }}{{ end -}}
Uninstall the release{{ if $embedded }}. The data and passwords of the embedded databases remain, for a later release with the same name{{ end }}:

  helm -n {{ $release.Namespace }} uninstall {{ $release.Name }}
{{- if $embedded }}

Delete that data and those passwords too:

  kubectl -n {{ $release.Namespace }} delete pvc,secret -l app.kubernetes.io/instance={{ $release.Name }},app.kubernetes.io/component=postgresql
{{- end }}
{{- end }}
