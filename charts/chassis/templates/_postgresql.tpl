{{- /*
chassis.postgresql: the embedded database, if postgresql.enabled: a StatefulSet of one pod with one volume claim, its
Service, its passwords, and an init script. The script creates the service's database and a role that owns only that
database. The role that serves is created by the migration (chassis.createServiceRole), so that a database of a release
before it gets the role too. It is for development and evaluation; in production use a database with replicas and
backups.
*/ -}}
{{- define "chassis.postgresql" -}}
{{- if .Values.postgresql.enabled -}}
{{- $name := printf "%s-postgresql" (include "chassis.fullname" .) -}}
{{- $headless := printf "%s-pods" $name -}}
{{- $secret := include "chassis.databaseSecretName" . -}}
{{- if not .Values.postgresql.existingSecret -}}
apiVersion: v1
kind: Secret
metadata:
  {{- /* the volume claim also remains, and its data needs these passwords */}}
  {{- include "chassis.metadata" (list . "postgresql" $secret dict (dict "helm.sh/resource-policy" "keep")) | nindent 2 }}
stringData:
  {{- include "chassis.embeddedSecretData" (list . $secret) | nindent 2 }}
---
{{ end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "chassis.metadata" (list . "postgresql" $name) | nindent 2 }}
data:
  init.sql: |
    \set password `cat /etc/postgresql-secrets/password`
    CREATE ROLE {{ include "chassis.serviceName" . | quote }} LOGIN PASSWORD :'password';
    CREATE DATABASE {{ include "chassis.serviceName" . | quote }} OWNER {{ include "chassis.serviceName" . | quote }};
    REVOKE ALL ON DATABASE {{ include "chassis.serviceName" . | quote }} FROM PUBLIC;
---
apiVersion: v1
kind: Service
metadata:
  {{- include "chassis.metadata" (list . "postgresql" $name) | nindent 2 }}
spec:
  {{- include "chassis.ipFamilies" . | nindent 2 }}
  selector:
    {{- include "chassis.selector" (list . "postgresql") | nindent 4 }}
  ports:
    - {name: postgresql, port: 5432, targetPort: postgresql}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "chassis.metadata" (list . "postgresql" $headless) | nindent 2 }}
spec:
  clusterIP: None # gives the pod a name of its own
  publishNotReadyAddresses: true
  {{- include "chassis.ipFamilies" . | nindent 2 }}
  selector:
    {{- include "chassis.selector" (list . "postgresql") | nindent 4 }}
  ports:
    - {name: postgresql, port: 5432, targetPort: postgresql}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "chassis.metadata" (list . "postgresql" $name) | nindent 2 }}
spec:
  {{- /* cannot be changed: the StatefulSet of an earlier release keeps the Service that it has */}}
  serviceName: {{ dig "spec" "serviceName" $headless (lookup "apps/v1" "StatefulSet" .Release.Namespace $name) | quote }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "chassis.selector" (list . "postgresql") | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "chassis.labels" (list . "postgresql") | nindent 8 }}
    spec:
      {{- include "chassis.podSecurity" (list . .Values.postgresql.podSecurityContext) | nindent 6 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: postgresql
          image: {{ include "chassis.image" (list . .Values.postgresql.image) }}
          args:
            {{- range $key, $value := .Values.postgresql.parameters }}
            - -c
            - {{ printf "%s=%s" $key (include "chassis.scalar" $value) | quote }}
            {{- end }}
          {{- include "chassis.containerSecurity" .Values.postgresql.securityContext | nindent 10 }}
          resources:
            {{- toYaml .Values.postgresql.resources | nindent 12 }}
          ports:
            - name: postgresql
              containerPort: 5432
          env:
            - name: POSTGRES_PASSWORD_FILE
              value: /etc/postgresql-secrets/postgres-password
            - name: PGDATA
              value: /var/lib/postgresql/18/docker
          # Probe over TCP: while the first start initializes the data, the server listens on its Unix socket only.
          # A server that rejects connections (exit status 1), because it recovers or all connections are in use, is alive.
          startupProbe:
            exec: &alive {command: [sh, -c, "pg_isready --quiet --host=127.0.0.1 --username=postgres || [ $? = 1 ]"]}
            {{- with .Values.postgresql.startupProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          livenessProbe:
            exec: *alive
            {{- with .Values.postgresql.livenessProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          readinessProbe:
            exec: {command: [pg_isready, --quiet, --host=127.0.0.1, --username=postgres]}
            {{- with .Values.postgresql.readinessProbe }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/postgresql}
            - {name: init, mountPath: /docker-entrypoint-initdb.d, readOnly: true}
            - {name: secrets, mountPath: /etc/postgresql-secrets, readOnly: true}
            - {name: run, mountPath: /var/run/postgresql}
            - {name: tmp, mountPath: /tmp}
      volumes:
        - name: init
          configMap:
            name: {{ $name | quote }}
        - name: secrets
          secret:
            secretName: {{ $secret | quote }}
            defaultMode: 0440
            items:
              - {key: password, path: password}
              - {key: postgres-password, path: postgres-password}
        - name: run
          emptyDir: {sizeLimit: 1Mi}
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels: # only those of the selector: an upgrade cannot change a claim template
          {{- include "chassis.selector" (list . "postgresql") | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .Values.postgresql.storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources:
          requests:
            storage: {{ .Values.postgresql.storage }}
{{- end }}
{{- end }}

{{- /*
chassis.embeddedSecretData (list CONTEXT SECRET): the data of the Secret of the embedded database. The password of the role
that serves is derived from that of the owner if an earlier release made the Secret, so that the Secret of a pre-upgrade
migration has the same one.
*/ -}}
{{- define "chassis.embeddedSecretData" -}}
{{- $context := index . 0 -}}
{{- $existing := include "chassis.existingSecretData" . | fromJson -}}
{{- $owner := include "chassis.serviceName" $context -}}
{{- $service := printf "%s_service" $owner -}}
{{- $at := printf "%s-postgresql:5432/%s" (include "chassis.fullname" $context) $owner -}}
{{- $password := get $existing "password" | default (randAlphaNum 32) -}}
{{- $servicePassword := get $existing "service-password" | default (printf "service:%s" $password | sha256sum | trunc 32) -}}
password: {{ $password | quote }}
postgres-password: {{ get $existing "postgres-password" | default (randAlphaNum 32) | quote }}
service-password: {{ $servicePassword | quote }}
url: {{ get $existing "url" | default (printf "postgresql://%s:%s@%s" $owner $password $at) | quote }}
service-url: {{ get $existing "service-url" | default (printf "postgresql://%s:%s@%s" $service $servicePassword $at) | quote }}
{{- end }}

{{- /*
chassis.createServiceRole: an init container of the migration that creates the role that serves in the embedded database,
or sets its password. The migration grants it what it needs.
*/ -}}
{{- define "chassis.createServiceRole" -}}
{{- $host := printf "%s-postgresql" (include "chassis.fullname" .) -}}
name: create-service-role
image: {{ include "chassis.image" (list . .Values.postgresql.image) }}
command: [sh, -euc]
args:
  - |
    waited=0
    until pg_isready --quiet --host={{ $host }} --username=postgres --timeout=3; do
      waited=$((waited + 1))
      [ "$waited" -le {{ include "chassis.scalar" .Values.migration.wait }} ] || { echo "the database does not respond" >&2; exit 1; }
      sleep 1
    done
    PGPASSWORD="$(cat /etc/postgresql-secrets/postgres-password)"
    export PGPASSWORD
    printf '%s\n' "$CREATE_ROLE" | psql --host={{ $host }} --username=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1
env:
  - name: CREATE_ROLE
    value: |
      \set password `cat /etc/postgresql-secrets/service-password`
      SELECT 'CREATE ROLE "{{ include "chassis.serviceName" . }}_service" LOGIN'
      WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{{ include "chassis.serviceName" . }}_service') \gexec
      ALTER ROLE "{{ include "chassis.serviceName" . }}_service" PASSWORD :'password';
{{- with include "chassis.containerSecurity" .Values.securityContext }}
{{ . }}
{{- end }}
resources:
  {{- toYaml .Values.job.resources | nindent 2 }}
volumeMounts:
  - {name: postgresql-secrets, mountPath: /etc/postgresql-secrets, readOnly: true}
{{- end }}
