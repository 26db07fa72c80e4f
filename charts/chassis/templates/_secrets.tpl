{{- /*
chassis.existingSecretData (list CONTEXT SECRET): the data of the Secret named SECRET in the cluster, as JSON; an empty
object if there is none. An upgrade reads generated values here, so they are generated only once. Tools that render
without a cluster (Argo CD, `helm template`) find nothing and would generate new values each time: chassis.checks refuses
that.
*/ -}}
{{- define "chassis.existingSecretData" -}}
{{- $existing := dict -}}
{{- range $key, $value := (lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1)).data -}}
{{- $existing = set $existing $key ($value | b64dec) -}}
{{- end -}}
{{- toJson $existing -}}
{{- end }}

{{- /*
chassis.hasCluster: "yes" if this rendering can look up objects in a cluster, otherwise empty. Every namespace has the
ConfigMap; on an installation that creates the namespace, another namespace is there.
*/ -}}
{{- define "chassis.hasCluster" -}}
{{- if or (lookup "v1" "ConfigMap" .Release.Namespace "kube-root-ca.crt") (lookup "v1" "Namespace" "" "kube-system") -}}
yes
{{- end -}}
{{- end }}

{{- /* chassis.newKey: a new API key: `tandem_`, 40 random characters and a checksum (docs/auth.md) */ -}}
{{- define "chassis.newKey" -}}
{{- $body := randAlphaNum 40 -}}
tandem_{{ $body }}{{ sha256sum $body | trunc 6 }}
{{- end }}

{{- /*
chassis.credentialsSecret: unless credentials.existingSecret is set, the Secret with the keys that both services read:
the API keys, the key that order sends to payment, the signing secrets of events, and an API key for people.
*/ -}}
{{- define "chassis.credentialsSecret" -}}
{{- if not .Values.credentials.existingSecret -}}
{{- $name := include "chassis.credentialsSecretName" . -}}
{{- $existing := include "chassis.existingSecretData" (list . $name) | fromJson -}}
{{- $apiKey := get $existing "api-key" | default (include "chassis.newKey" .) -}}
{{- $paymentApiKey := get $existing "payment-api-key" | default (include "chassis.newKey" .) -}}
{{- $keys := list
  (dict "key" $apiKey "merchant" .Values.credentials.merchant "scopes" (list "orders:read" "orders:write" "payments:read" "payments:write"))
  (dict "key" $paymentApiKey "merchant" "tandem" "scopes" (list "payments:read" "payments:write" "merchants:any")) -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "credentials" $name) | nindent 2 }}
stringData:
  api-key: {{ $apiKey | quote }}
  payment-api-key: {{ $paymentApiKey | quote }}
  api-keys: {{ get $existing "api-keys" | default (toJson $keys) | quote }}
  events-secrets: {{ get $existing "events-secrets" | default (printf "whsec_%s" (randBytes 32)) | quote }}
{{- end }}
{{- end }}

{{- /* chassis.databaseSecret: the Secret with the URLs of the values `database`, if database.url is set */ -}}
{{- define "chassis.databaseSecret" -}}
{{- if .Values.database.url -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "chassis.metadata" (list . "server" (include "chassis.databaseSecretName" .)) | nindent 2 }}
stringData:
  {{- include "chassis.externalUrls" . | nindent 2 }}
  {{- with .Values.database.readUrl }}
  read-url: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* chassis.externalUrls: the data of the Secret of an external database, as far as a migration needs it */ -}}
{{- define "chassis.externalUrls" -}}
url: {{ .Values.database.url | quote }}
{{- with .Values.database.migrationUrl }}
migration-url: {{ . | quote }}
{{- end }}
{{- end }}
