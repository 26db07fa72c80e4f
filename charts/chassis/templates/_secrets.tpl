{{- /*
chassis.kept (list CONTEXT SECRET): what a Secret of the cluster holds, or an empty dict. What is generated is
generated once: upgrades find it here. Tools that render without a cluster (Argo CD, kustomize) find nothing and would
make it anew each time; they want the `existingSecret` values.
*/ -}}
{{- define "chassis.kept" -}}
{{- $kept := dict -}}
{{- range $key, $value := (lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1)).data -}}
{{- $kept = set $kept $key ($value | b64dec) -}}
{{- end -}}
{{- toJson $kept -}}
{{- end }}

{{- /* chassis.credentials: the Secret that both services read, and the people who call them */ -}}
{{- define "chassis.credentials" -}}
{{- if not .Values.credentials.existingSecret -}}
{{- $name := include "chassis.credentialsSecret" . -}}
{{- $kept := include "chassis.kept" (list . $name) | fromJson -}}
{{- $mine := get $kept "api-key" | default (printf "tdm_%s" (randAlphaNum 40)) -}}
{{- $orders := get $kept "payment-api-key" | default (printf "tdm_%s" (randAlphaNum 40)) -}}
{{- $keys := list
  (dict "key" $mine "merchant" .Values.credentials.merchant "scopes" (list "orders:read" "orders:write" "payments:read" "payments:write"))
  (dict "key" $orders "merchant" "tandem" "scopes" (list "payments:read" "payments:write" "merchants:any")) -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "credentials" $name) | nindent 2 }}
stringData:
  api-key: {{ $mine }}
  payment-api-key: {{ $orders }}
  api-keys: {{ get $kept "api-keys" | default (toJson $keys) | quote }}
  events-secrets: {{ get $kept "events-secrets" | default (printf "whsec_%s" (randBytes 32)) | quote }}
{{- end }}
{{- end }}

{{- define "chassis.database" -}}
{{- if .Values.database.url -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.databaseSecret" .)) | nindent 2 }}
stringData:
  url: {{ .Values.database.url | quote }}
{{- end }}
{{- end }}
