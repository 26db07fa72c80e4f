{{- /*
Notes are prose, and commands to paste: lines that begin with two spaces, of four and more where one goes on. Tests
take them out of here and run them.
*/ -}}

{{- /* chassis.notes (list CONTEXT...): the notes of a release, with the contexts of its services; the first is called */ -}}
{{- define "chassis.notes" -}}
{{- $first := first . -}}
{{ include (printf "%s.firstCalls" $first.Chart.Name) $first }}
{{- range . }}
{{ include "chassis.notes.service" . }}
{{- end }}
{{ include "chassis.notes.removal" . }}
{{- end }}

{{- /* chassis.notes.reach: a port forwarded to a service, and a key to call it with */ -}}
{{- define "chassis.notes.reach" -}}
{{- $port := (include "chassis.facts" . | fromYaml).port -}}
{{- $kubectl := printf "  kubectl -n %s" .Release.Namespace -}}
{{ $kubectl }} rollout status deployment -l app.kubernetes.io/instance={{ .Release.Name }} --timeout 3m
{{ $kubectl }} port-forward service/{{ include "chassis.fullname" . }} {{ $port }} >/dev/null &
  API_KEY=$(kubectl -n {{ .Release.Namespace }} get secret {{ include "chassis.credentialsSecret" . }} -o jsonpath='{.data.api-key}' | base64 -d)
{{- end }}

{{- /* chassis.notes.service: what there is of a service with these values */ -}}
{{- define "chassis.notes.service" -}}
{{- $name := include "chassis.fullname" . -}}
{{- $kubectl := printf "  kubectl -n %s get" .Release.Namespace -}}
{{- $values := .Values -}}
The {{ .Chart.Name }} service is http://{{ $name }}.{{ .Release.Namespace }}:{{ (include "chassis.facts" . | fromYaml).port }} in the cluster.
{{- if $values.postgresql.enabled }} Its database is one pod, without
replicas or backups: for trials. Production brings its own (`postgresql.enabled`, `database`).
{{- else }} Where its database is, the Secret
{{ include "chassis.databaseSecret" . }} says.
{{- end }}
{{- if not $values.networkPolicy.enabled }} No NetworkPolicy guards either (`networkPolicy.enabled`).
{{- end }}
{{- if $values.ingress.enabled }}

From outside it is {{ range $index, $host := $values.ingress.hosts }}{{ if $index }}, {{ end }}{{ ternary "http" "https" (empty $values.ingress.tls) }}://{{ $host }}{{ $values.ingress.path }}{{ end }}:

{{ $kubectl }} ingress {{ $name }}
{{- end }}
{{- if $values.httpRoute.enabled }}

From outside the way is a Gateway{{ with $values.httpRoute.hostnames }}, by the name of {{ join ", " . }}{{ end }}:

{{ $kubectl }} httproute {{ $name }}
{{- end }}
{{- if ne $values.service.type "ClusterIP" }}

From outside the way is a Service of type {{ $values.service.type }}:

{{ $kubectl }} service {{ $name }}
{{- end }}
{{- if $values.autoscaling.enabled }}

As the load has it, {{ $values.autoscaling.minReplicas }} to {{ $values.autoscaling.maxReplicas }} pods run:

{{ $kubectl }} hpa {{ $name }}
{{- end }}
{{- if include "chassis.podDisruptionBudget" . }}

A drain takes {{ $values.podDisruptionBudget.maxUnavailable }} of its pods at a time:

{{ $kubectl }} pdb {{ $name }}
{{- end }}
{{- range list "serviceMonitor" "podMonitor" }}
{{- if (get $values.metrics .).enabled }}

The Prometheus operator scrapes it because of

{{ $kubectl }} {{ lower . }} {{ $name }}
{{- end }}
{{- end }}
{{ end }}

{{- /* chassis.notes.removal (list CONTEXT...): what an uninstall takes and what it leaves */ -}}
{{- define "chassis.notes.removal" -}}
{{- $release := (first .).Release -}}
{{- $embedded := list -}}
{{- range . }}{{ if .Values.postgresql.enabled }}{{ $embedded = append $embedded .Chart.Name }}{{ end }}{{ end -}}
To remove it{{ if $embedded }}, but for the data and the passwords of the embedded databases, which an install under the same name finds again{{ end }}:

  helm -n {{ $release.Namespace }} uninstall {{ $release.Name }}
{{- if $embedded }}

and then, if the data is to go too:

  kubectl -n {{ $release.Namespace }} delete pvc,secret -l app.kubernetes.io/instance={{ $release.Name }},app.kubernetes.io/component=postgresql
{{- end }}
{{- end }}
